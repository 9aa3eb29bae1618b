mod bindings;
mod everything;
mod layers;
mod policies;
mod queues;
mod routers;
mod stored;
mod topics;
