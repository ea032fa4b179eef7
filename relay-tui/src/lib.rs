//! The operator's console of Relay.
//!
//! One task owns the model; the link to the daemon runs beside it and only sends messages. Arrows:
//! `view` reads `model`; `update` changes `model` by `msg`; `link` speaks the protocol and makes
//! `msg`; `run` joins them with the terminal. `model` knows neither terminal nor protocol.

mod cli;
mod clipboard;
mod config;
mod format;
mod keymap;
mod link;
mod model;
mod msg;
mod once;
mod palette;
mod persist;
mod run;
mod term;
mod text;
mod update;
mod view;
mod zone;

#[cfg(test)]
mod tests;

pub use cli::main;
