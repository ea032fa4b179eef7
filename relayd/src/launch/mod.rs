//! Child processes: engines that relayd starts and watches.
//!
//! A [`Child`] is kept running: started, restarted with growing pauses when it ends, stopped as a
//! whole process group. It runs below a guard ([`guard_main`], a hidden command of our own
//! binary), so that it ends when relayd ends, by whatever cause. [`fetch`] installs the small
//! engine that `relayd dev` falls back to, [`llama`] describes how to run it.
//!
//! It does not know what a child is for: whether an engine behind it serves is asked over HTTP,
//! elsewhere.
//!
//! Invariants: a child sees no variable of the environment whose name begins with `RELAY`; one
//! directory is installed into by one process at a time; nothing that is installed is fetched
//! again.

mod backoff;
mod child;
mod fetch;
mod guard;
mod llama;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use child::{Child, ChildSpec, ChildState, LaunchError};
pub use fetch::{FetchError, Installed, fetch};
pub use guard::{Guard, guard_main};
pub use llama::{LlamaOptions, free_port, llama};
