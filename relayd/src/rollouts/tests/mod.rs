//! Tests of the judge on seeded samples, and of the room over a database.

mod judging;
mod moving;
