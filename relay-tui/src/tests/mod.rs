//! Tests of the whole: screens as text, behaviour by key, the link against a server.

mod acting;
mod allowed;
mod budgets;
mod deciding;
mod forms;
mod link;
mod models;
mod pages;
mod panic;
mod rooms;
mod wishes;
mod world;
