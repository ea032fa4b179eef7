//! Tests of the whole: screens as text, behaviour by key, the link against a server.

mod acting;
mod budgets;
mod pages;
mod world;
