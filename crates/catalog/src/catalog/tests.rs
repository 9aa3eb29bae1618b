mod bindings;
mod everything;
mod layers;
mod queues;
mod routers;
mod stored;
mod topics;
