//! Tests of the whole: screens as text, behaviour by key, the link against a server.

mod acting;
mod allowed;
mod budgets;
mod link;
mod pages;
mod panic;
mod rooms;
mod wishes;
mod world;
