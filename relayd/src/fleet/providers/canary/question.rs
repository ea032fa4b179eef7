//! What is asked: fresh each time, and of the make of what customers ask.

use bytes::Bytes;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use serde_json::{Map, Value, json};

use crate::domain::ModelName;

/// Answer tokens that are asked for, between these: little work, and enough to tell models apart.
const TOKENS: (u32, u32) = (32, 96);

/// The same where time is short.
const TOKENS_SHORT: u32 = 24;

/// Likely other tokens that the operator's own engine is asked for at each place.
const RIVALS: u32 = 8;

const THINGS: [&str; 40] = [
    "bicycle",
    "lighthouse",
    "compiler",
    "violin",
    "greenhouse",
    "train ticket",
    "coffee grinder",
    "river delta",
    "spreadsheet",
    "orchard",
    "telescope",
    "harbour",
    "database index",
    "wool coat",
    "chess opening",
    "rain barrel",
    "bread oven",
    "sailing boat",
    "street market",
    "thermostat",
    "paper map",
    "bee hive",
    "lecture",
    "stone bridge",
    "city tram",
    "loan contract",
    "shoelace",
    "search engine",
    "mountain hut",
    "piano lesson",
    "water pump",
    "night shift",
    "wedding cake",
    "door lock",
    "tax form",
    "radio play",
    "football match",
    "vegetable stew",
    "glacier",
    "kite",
];

const QUALITIES: [&str; 24] = [
    "old",
    "small",
    "noisy",
    "reliable",
    "forgotten",
    "expensive",
    "strange",
    "heavy",
    "modern",
    "broken",
    "famous",
    "cheap",
    "quiet",
    "dangerous",
    "borrowed",
    "half-finished",
    "red",
    "public",
    "useful",
    "crowded",
    "fragile",
    "slow",
    "hidden",
    "portable",
];

const PEOPLE: [&str; 20] = [
    "a nurse",
    "my grandfather",
    "a beginner",
    "two neighbours",
    "a tired student",
    "an engineer",
    "a twelve-year-old",
    "our landlord",
    "a tourist",
    "the new colleague",
    "a carpenter",
    "a poet",
    "a small team",
    "a sceptical manager",
    "a retired sailor",
    "her sister",
    "a shop owner",
    "an apprentice",
    "a bus driver",
    "a volunteer",
];

const PLACES: [&str; 16] = [
    "in a coastal town",
    "in Lisbon",
    "on a farm",
    "at an airport",
    "in a data centre",
    "in the mountains",
    "at university",
    "in a hospital",
    "near the border",
    "in a small office",
    "on an island",
    "in northern Sweden",
    "at a night market",
    "in an old library",
    "in a suburb of Osaka",
    "on the river bank",
];

const MANNERS: [&str; 10] = [
    "",
    "",
    "",
    " Keep it short.",
    " Use plain words.",
    " Be specific.",
    " No lists, please.",
    " Write it as a letter.",
    " Make it a little funny.",
    " Start right away.",
];

const INSTRUCTIONS: [&str; 6] = [
    "You are a helpful assistant.",
    "You are a careful editor who answers in plain English.",
    "Answer briefly and to the point.",
    "You write for a small local newspaper.",
    "You are an experienced teacher.",
    "You help the customers of a small company. Be friendly.",
];

/// How chance is kept out. More than one way, so that none of them is a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sure {
    Temperature,
    Seeded(u32),
    Nucleus,
}

/// A question that nobody asked before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    messages: Vec<(&'static str, String)>,
    cap: u32,
    stream: bool,
    sure: Sure,
    model_first: bool,
}

impl Question {
    /// A new one, of the shapes that customers' requests have.
    #[must_use]
    pub fn new() -> Self {
        let mut rng = rand::rng();
        let mut messages = Vec::new();
        if rng.random_ratio(2, 5) {
            messages.push(("system", pick(&INSTRUCTIONS).to_owned()));
        }
        if rng.random_ratio(1, 5) {
            messages.push(("user", text()));
            let (quality, thing) = (pick(&QUALITIES), pick(&THINGS));
            let before = format!("Sure. Let us begin with the {quality} {thing} then.");
            messages.push(("assistant", before));
        }
        messages.push(("user", text()));
        Self {
            messages,
            cap: rng.random_range(TOKENS.0..=TOKENS.1),
            stream: rng.random_ratio(1, 2),
            sure: match rng.random_range(0..4) {
                0 => Sure::Nucleus,
                1 => Sure::Seeded(rng.random_range(0..100_000)),
                _ => Sure::Temperature,
            },
            model_first: rng.random_ratio(1, 2),
        }
    }

    /// A new one whose answer is short and comes whole.
    #[must_use]
    pub fn short() -> Self {
        Self { cap: TOKENS_SHORT, stream: false, ..Self::new() }
    }

    /// The same, answered whole.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { stream: false, ..self.clone() }
    }

    /// Whether its answer is streamed.
    #[must_use]
    pub const fn streams(&self) -> bool {
        self.stream
    }

    /// Answer tokens at most.
    #[must_use]
    pub const fn cap(&self) -> u64 {
        self.cap as u64
    }

    /// The body that a customer would have sent; `told` asks for likelihoods as well.
    #[must_use]
    pub fn body(&self, model: &ModelName, told: bool) -> Bytes {
        let said = |(role, content): &(&str, String)| json!({ "role": role, "content": content });
        let messages: Value = self.messages.iter().map(said).collect();
        let mut members = vec![("model", json!(model.as_str())), ("messages", messages)];
        if !self.model_first {
            members.reverse();
        }
        members.push(("max_tokens", self.cap.into()));
        match self.sure {
            Sure::Temperature => members.push(("temperature", 0.into())),
            Sure::Seeded(seed) => {
                members.extend([("temperature", 0.into()), ("seed", seed.into())]);
            }
            Sure::Nucleus => members.push(("top_p", json!(0.01))),
        }
        if self.stream {
            members.push(("stream", true.into()));
        }
        if told {
            members.extend([("logprobs", true.into()), ("top_logprobs", RIVALS.into())]);
        }
        let object: Map<String, Value> =
            members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Value::Object(object).to_string().into()
    }
}

impl Default for Question {
    fn default() -> Self {
        Self::new()
    }
}

fn pick(words: &[&'static str]) -> &'static str {
    words.choose(&mut rand::rng()).copied().unwrap_or_default()
}

/// Open questions: what everybody answers alike would tell no models apart.
fn text() -> String {
    let (thing, other) = (pick(&THINGS), pick(&THINGS));
    let (quality, who, place) = (pick(&QUALITIES), pick(&PEOPLE), pick(&PLACES));
    let number = rand::rng().random_range(3..2_000);
    let asked = match rand::rng().random_range(0..10) {
        0 => {
            format!("Write the first lines of a story about {who} and a {quality} {thing} {place}.")
        }
        1 => format!("Describe a {quality} {thing} {place} so that {who} would recognise it."),
        2 => format!("How would {who} explain a {thing} to somebody who only knows a {other}?"),
        3 => format!("What could go wrong with {number} of these: {quality} {thing}, {place}?"),
        4 => {
            format!("Invent a name and a slogan for a shop {place} that sells a {quality} {thing}.")
        }
        5 => format!("Write a short diary entry of {who} who lost a {thing} {place}."),
        6 => format!("Compare a {quality} {thing} with a {other} from the view of {who}."),
        7 => {
            format!("Draft a message to {who}: the {thing} costs {number} and the {other} is late.")
        }
        8 => format!("Imagine that every {thing} were {quality}. What would change {place}?"),
        _ => format!("Give {who} advice on buying a {quality} {thing} for {number} euros."),
    };
    asked + pick(&MANNERS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::wire::{ChatRequest, Surface};

    #[test]
    fn no_question_is_asked_twice() {
        let asked = (0..2_000).map(|_| Question::new().messages.pop().unwrap().1);
        let different = asked.collect::<HashSet<_>>().len();
        assert!(different > 1_950, "{different}");
    }

    #[test]
    fn a_body_is_one_that_customers_may_send() {
        let model: ModelName = "relay-tiny".parse().unwrap();
        let mut shapes = HashSet::new();
        for _ in 0..500 {
            let question = Question::new();
            let request = ChatRequest::scan(Surface::Openai, question.body(&model, false)).unwrap();
            assert_eq!(request.output_cap(), Some(question.cap()));
            assert_eq!(request.stream(), question.stream);
            let body: Value = serde_json::from_slice(&question.body(&model, false)).unwrap();
            assert!(body["temperature"] == 0 || body["top_p"] == 0.01, "{body}");
            assert_eq!(body["logprobs"], Value::Null, "no customer's request is known by it");
            shapes.insert(body.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(","));
        }
        assert!(shapes.len() >= 10, "{shapes:?}");
        let told = Question::short().body(&model, true);
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!((&told["logprobs"], &told["max_tokens"]), (&true.into(), &24.into()));
        assert_eq!(told["stream"], Value::Null);
    }
}
