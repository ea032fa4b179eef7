//! The forms of a revision and of a rollout: what they ask for, and what is wrong with it.

use super::dialogs::{open, text};
use crate::format;
use crate::model::Model;
use crate::model::call::{Canaries, GateLimit, RevisionDraft, RolloutStart};
use crate::model::overlay::Purpose;
use crate::model::rollouts::{GateKind, ModelRow};

/// All requests.
const WHOLE_PERMILLE: u32 = 1_000;
/// Between what a canary prompt asks and what its answer holds.
const EXPECTS: &str = "=>";
/// Before a file's name.
const FILE: char = '@';

/// The label of a gate's field, what stands in it for nothing, and the gate.
const GATES: [(&str, &str, GateKind); 5] = [
    ("errors pp", "worse by, off; empty = 0.5", GateKind::Errors),
    ("ttft %", "slower by, off; empty = 20", GateKind::Ttft),
    ("tok/s %", "slower by, off; empty = 20", GateKind::TokensPerSecond),
    ("reasons pp", "of ends, off; empty = 10", GateKind::FinishReasons),
    ("canary pp", "worse by, off; empty = 10", GateKind::Canary),
];

/// Opens the form of a new revision of the selected model, filled with what serves now.
pub(super) fn revise(model: &mut Model) {
    let Some(row) = model.models.selected().cloned() else { return };
    let listed: Vec<String> = model
        .backends
        .all()
        .iter()
        .filter_map(|backend| {
            let served = backend.models.iter().find(|served| served.model == row.name)?;
            Some(format!("{}={}", backend.id, served.upstream))
        })
        .collect();
    let live = row.revisions.iter().find(|revision| revision.number == row.live);
    let targets =
        live.map_or_else(|| listed.join(","), |live| live.runs_on().collect::<Vec<_>>().join(","));
    let known =
        if listed.is_empty() { "no backend lists it".to_owned() } else { listed.join(", ") };
    let lines = vec![
        format!("Backends that list it: {known}."),
        "It gets no request before a rollout to it starts (n).".to_owned(),
    ];
    let fields = vec![
        text("targets", "backend=its name there, ..., or a deployment", &targets),
        text("note", "what it is, for people", ""),
        text("temp", "temperature 0 to 2, empty = not said", ""),
        text("top_p", "0 to 1, empty = not said", ""),
        text("max tokens", "longest answer, empty = not said", ""),
        text("reason", "", ""),
    ];
    let title = format!("New revision of {}", row.name);
    open(model, Purpose::Revise { model: row.name, version: row.version }, title, lines, fields);
}

/// What the filled form of a revision asks for.
pub(super) fn draft_of<'a>(value: &impl Fn(&str) -> &'a str) -> Result<RevisionDraft, String> {
    let target = |text: &str| {
        let (backend, upstream) = text.split_once('=').unwrap_or((text, ""));
        let (backend, upstream) = (backend.trim(), upstream.trim());
        if backend.is_empty() {
            return Err("targets are backend=name with a comma between them".to_owned());
        }
        Ok((backend.to_owned(), upstream.to_owned()))
    };
    let targets = value("targets").split(',').map(target).collect::<Result<Vec<_>, _>>()?;
    let thousandths = |label: &str, most: u32| match value(label) {
        "" => Ok(None),
        typed => format::scaled(typed, 3)
            .filter(|milli| *milli <= most)
            .map(Some)
            .ok_or_else(|| format!("{label} is a number from 0 to {}", most / 1_000)),
    };
    Ok(RevisionDraft {
        targets,
        note: value("note").to_owned(),
        temperature_milli: thousandths("temp", 2_000)?,
        top_p_milli: thousandths("top_p", 1_000)?,
        max_tokens: match value("max tokens") {
            "" => None,
            typed => Some(typed.parse().map_err(|_| "max tokens is a whole number")?),
        },
    })
}

/// Opens the form of a new rollout of the selected model.
pub(super) fn start(model: &mut Model) {
    let Some(row) = model.models.selected().cloned() else { return };
    let candidate = row.candidate().map_or_else(String::new, |number| number.to_string());
    let lines = vec![format!("{} A gate that fails takes it back.", what_can_follow(&row))];
    let mut fields = vec![
        text("revision", "its number", &candidate),
        text("steps %", "empty = 1,5,25,50,100", ""),
        text("window s", "least time of a step, empty = 600", ""),
        text("requests", "least of each revision, empty = 200", ""),
        text("patience", "windows without so many, empty = 6", ""),
        text("shadow %", "copies nobody sees or pays", ""),
        text("alpha %", "chance of a false alarm, empty = 0.1", ""),
    ];
    fields.extend(GATES.map(|(label, hint, _)| text(label, hint, "")));
    fields.push(text("canaries", "ask => answer; ask => answer, or @FILE", ""));
    fields.push(text("reason", "", ""));
    let title = format!("Start a rollout of {}", row.name);
    let purpose = Purpose::StartRollout { model: row.name, version: row.version };
    open(model, purpose, title, lines, fields);
}

/// `r1 is live; r2, r3 can follow.`
fn what_can_follow(row: &ModelRow) -> String {
    let known: Vec<String> = row
        .revisions
        .iter()
        .filter(|revision| revision.number != row.live)
        .map(|revision| format!("r{}", revision.number))
        .collect();
    format!("r{} is live; {} can follow.", row.live, known.join(", "))
}

/// What the filled form of a rollout asks for.
pub(super) fn start_of<'a>(value: &impl Fn(&str) -> &'a str) -> Result<RolloutStart, String> {
    let number = |label: &str| match value(label) {
        "" => Ok(0),
        typed => typed.parse::<u32>().map_err(|_| format!("{label} is not a whole number")),
    };
    let revision = number("revision")?;
    if revision == 0 {
        return Err("the revision is a number from 1".to_owned());
    }
    let steps_permille = value("steps %")
        .split(',')
        .map(str::trim)
        .filter(|step| !step.is_empty())
        .map(permille)
        .collect::<Result<Vec<_>, _>>()?;
    if steps_permille.windows(2).any(|pair| pair[0] >= pair[1])
        || steps_permille.last().is_some_and(|last| *last != WHOLE_PERMILLE)
    {
        return Err("steps grow, and the last is 100".to_owned());
    }
    let mut gates = Vec::new();
    for (label, _, kind) in GATES {
        let limit = match value(label) {
            "" => continue,
            "off" => GateLimit::Off,
            typed => GateLimit::Ppm(format::scaled(typed, 4).ok_or_else(|| {
                format!("{label} is a number with at most four decimals, or off")
            })?),
        };
        gates.push((kind, limit));
    }
    Ok(RolloutStart {
        revision,
        steps_permille,
        window_ms: u64::from(number("window s")?) * 1_000,
        min_samples: number("requests")?,
        patience_windows: number("patience")?,
        alpha_ppm: match value("alpha %") {
            "" => 0,
            typed => {
                format::scaled(typed, 4).ok_or("alpha % is a number with at most four decimals")?
            }
        },
        shadow_permille: match value("shadow %") {
            "" => 0,
            typed => permille(typed)?,
        },
        gates,
        canaries: canaries(value("canaries"))?,
    })
}

/// `2+2? => 4; capital of France? => Paris`, or `@FILE` with a JSON list.
fn canaries(text: &str) -> Result<Canaries, String> {
    if let Some(file) = text.strip_prefix(FILE) {
        return Ok(Canaries::File(file.trim().to_owned()));
    }
    let pair = |text: &str| {
        let (prompt, expect) =
            text.split_once(EXPECTS).map(|(prompt, expect)| (prompt.trim(), expect.trim()))?;
        (!prompt.is_empty() && !expect.is_empty()).then(|| (prompt.to_owned(), expect.to_owned()))
    };
    let pairs = text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(pair);
    pairs
        .collect::<Option<Vec<_>>>()
        .map(Canaries::Typed)
        .ok_or_else(|| format!("canaries are written ask {EXPECTS} answer, with ; between them"))
}

/// A percentage with at most one decimal, in thousandths.
fn permille(text: &str) -> Result<u32, String> {
    format::scaled(text, 1)
        .filter(|permille| *permille <= WHOLE_PERMILLE)
        .ok_or_else(|| format!("'{text}' is not a percentage with at most one decimal"))
}
