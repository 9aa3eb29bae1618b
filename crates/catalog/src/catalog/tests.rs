mod bindings;
mod layers;
mod queues;
mod routers;
mod stored;
mod topics;
