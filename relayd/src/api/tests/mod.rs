//! The whole face over a real store, with an engine on loopback.

mod account;
mod chat;
mod keys;
mod listener;
mod reads;
mod world;
