//! Laws of prices, and the rules of money against a naive model.

mod model;
mod price;
mod rules;
