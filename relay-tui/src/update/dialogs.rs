//! Dialogs: how they open, what keys do in them, and when they become a call.

use super::acts::{backend_call, call, send};
use super::{plans, providers, rollouts};
use crate::format;
use crate::keymap::{Code, Level, Press};
use crate::model::call::{KeyLimits, NewKey, Verb};
use crate::model::data::{BackendState, Customer, Limits, Severity};
use crate::model::input::Input;
use crate::model::list::List;
use crate::model::overlay::{
    Confirm, FieldKind, Focus, Form, FormField, Overlay, Palette, Purpose,
};
use crate::model::{Model, UNLOCK_MS};
use crate::msg::Cmd;
use crate::palette;

/// Keys have names of 3 to 100 characters; the daemon says so too.
const NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=100;
const WEIGHT_MAX: u32 = 1_000;

/// Opens the question before a change of the selected row.
pub(super) fn confirm(model: &mut Model, verb: Verb, level: Level) {
    let lines = consequences(model, &verb);
    let made = match verb {
        Verb::RevokeKey => {
            let Some(key) = model.keys.selected() else { return };
            let (id, name, version) = (key.id.clone(), key.name.clone(), key.version);
            Some(call(model, verb, id, name, version))
        }
        Verb::Approve | Verb::Reject | Verb::Suspend | Verb::Reconsider => {
            providers::decision(model, verb)
        }
        Verb::Advance | Verb::Resume | Verb::RollBack => rollouts::decision(model, verb),
        _ => backend_call(model, verb),
    };
    let Some(call) = made else { return };
    let focus = match level {
        Level::Name => Focus::Name,
        Level::Reason => Focus::Reason,
        Level::None | Level::Yes | Level::Form => Focus::Cancel,
    };
    model.overlay = Some(Overlay::Confirm(Confirm {
        call,
        level,
        lines,
        typed: Input::default(),
        reason: Input::default(),
        focus,
        opened_ms: model.now.mono_ms,
    }));
}

/// What will happen, to how much traffic or money, and whether it can be undone.
fn consequences(model: &Model, verb: &Verb) -> Vec<String> {
    let mut lines = Vec::new();
    if *verb == Verb::RevokeKey {
        let Some(key) = model.keys.selected() else { return lines };
        lines.push("Refused from the next second on, on every replica.".to_owned());
        lines.push(format!(
            "Now {} running, {}/s; today {} in {} requests.",
            key.in_flight,
            format::rate(key.requests_per_ks),
            format::usd(key.today.charged_ncr),
            key.today.requests
        ));
        lines.push("An admin can undo it: relayd admin keys unrevoke.".to_owned());
        return lines;
    }
    if matches!(verb, Verb::Approve | Verb::Reject | Verb::Suspend | Verb::Reconsider) {
        return providers::consequences(model, verb);
    }
    if matches!(verb, Verb::Advance | Verb::Resume | Verb::RollBack) {
        return rollouts::consequences(model, verb);
    }
    let Some(backend) = model.backends.selected() else { return lines };
    if *verb == Verb::Uncordon {
        lines.push(format!("New requests come again, weight {}.", backend.weight));
        lines.push("Can be undone with c.".to_owned());
        return lines;
    }
    lines.push("New requests go elsewhere, what runs goes on.".to_owned());
    lines.push(format!("Now {} running, {} queued.", backend.running, backend.queued));
    let alone: Vec<&str> = backend
        .models
        .iter()
        .map(|served| served.model.as_str())
        .filter(|name| {
            !model.backends.all().iter().any(|other| {
                other.id != backend.id
                    && other.state == BackendState::Up
                    && other.models.iter().any(|served| served.model == *name)
            })
        })
        .collect();
    match alone.as_slice() {
        [] => lines.push("Each of its models has another backend that is up.".to_owned()),
        [one] => lines.push(format!("! Nothing else serves {one} now.")),
        [one, rest @ ..] => {
            lines.push(format!("! Nothing else serves {one} and {} more now.", rest.len()));
        }
    }
    lines.push(match verb {
        Verb::Drain => "It becomes DRAINED when nothing runs. Can be undone with u.".to_owned(),
        _ => "Can be undone with u.".to_owned(),
    });
    lines
}

pub(super) fn text(label: &'static str, hint: &'static str, value: &str) -> FormField {
    FormField { label, hint, input: Input::with(value), kind: FieldKind::Text }
}

pub(super) fn open(
    model: &mut Model,
    purpose: Purpose,
    title: String,
    lines: Vec<String>,
    fields: Vec<FormField>,
) {
    model.overlay = Some(Overlay::Form(Form {
        purpose,
        title,
        lines,
        fields,
        focus: 0,
        problem: None,
        opened_ms: model.now.mono_ms,
    }));
}

pub(super) fn new_key(model: &mut Model) {
    let mut fields = vec![
        FormField {
            label: "customer",
            hint: "type to find, up and down choose",
            input: Input::default(),
            kind: FieldKind::Customer { at: 0 },
        },
        text("name", "3 to 100 characters", ""),
    ];
    fields.extend(limit_fields(Limits::default()));
    fields.push(text("budget USD", "empty = not capped", ""));
    let lines = vec!["The secret is shown once, right after.".to_owned()];
    open(model, Purpose::NewKey, "New key".to_owned(), lines, fields);
}

fn limit_fields(limits: Limits) -> [FormField; 3] {
    let value = |limit: Option<u32>| limit.map_or_else(String::new, |limit| limit.to_string());
    const HINT: &str = "requests a minute, empty = tier";
    [
        text("direct", HINT, &value(limits.direct)),
        text("opengpu", HINT, &value(limits.opengpu)),
        text("global", HINT, &value(limits.global)),
    ]
}

pub(super) fn limits(model: &mut Model) {
    let Some(key) = model.keys.selected().cloned() else { return };
    let mut fields = limit_fields(key.limits).to_vec();
    let left = key.budget_ncr.map_or_else(|| "none".to_owned(), format::usd);
    fields.push(text("budget USD", "empty = as it is, none = not capped", ""));
    let lines = vec![format!("tier {}, budget left {left}", key.tier)];
    let title = format!("Limits of {}", key.name);
    let purpose = Purpose::Limits { key_id: key.id, name: key.name, version: key.version };
    open(model, purpose, title, lines, fields);
}

pub(super) fn weight(model: &mut Model) {
    let Some(backend) = model.backends.selected().cloned() else { return };
    let all: u64 = model.backends.all().iter().map(|other| u64::from(other.weight)).sum();
    let lines = vec![
        format!("Now {} of {all} over all backends.", backend.weight),
        "0 takes no new requests. Can be undone.".to_owned(),
    ];
    let fields = vec![text("weight", "0 to 1000", "")];
    let title = format!("Weight of {}", backend.id);
    let purpose =
        Purpose::Weight { backend: backend.id, version: backend.version, now: backend.weight };
    open(model, purpose, title, lines, fields);
}

pub(super) fn unlock(model: &mut Model) {
    let name = model.context.name.clone();
    let lines = vec![
        format!("{name} is a production context."),
        "Changes are allowed for 10 minutes.".to_owned(),
    ];
    let fields = vec![text("context", "type its name", "")];
    open(model, Purpose::Unlock { context: name }, "Unlock".to_owned(), lines, fields);
}

pub(super) fn export(model: &mut Model) {
    let rows = model.focused_list().map_or(0, |list| list.names().len());
    let stamp = model.zone.moment(model.daemon_now_ms());
    let stamp: String = stamp.chars().filter(char::is_ascii_alphanumeric).collect();
    let file = format!("relay-{}-{stamp}.jsonl", model.screen.word());
    let lines = vec![format!("{rows} rows, as filtered and sorted now, one JSON object a line.")];
    let fields = vec![text("file", "a new one", &file)];
    open(model, Purpose::Export, "Export".to_owned(), lines, fields);
}

/// A key while something lies over the screen.
pub(super) fn press(model: &mut Model, press: Press) -> Vec<Cmd> {
    let Some(mut overlay) = model.overlay.take() else { return Vec::new() };
    let mut cmds = Vec::new();
    let stays = match &mut overlay {
        Overlay::Help { scroll } | Overlay::Detail { scroll } => page(scroll, press),
        Overlay::LinkLog => !closes(press),
        Overlay::Palette(palette) => match in_palette(model, palette, press) {
            Some(chosen) => {
                let Some(choice) = chosen else { return Vec::new() };
                return palette::run(model, &choice);
            }
            None => true,
        },
        Overlay::Confirm(confirm) => match in_confirm(confirm, press) {
            Step::Stay => true,
            Step::Leave => false,
            Step::Do => {
                let mut call = confirm.call.clone();
                call.reason = confirm.reason.text().trim().to_owned();
                return send(model, call);
            }
        },
        Overlay::Form(form) => match in_form(model, form, press) {
            Step::Stay => true,
            Step::Leave => false,
            Step::Do => match submit(model, form) {
                Ok(cmds) => return cmds,
                Err(problem) => {
                    form.problem = Some(problem);
                    true
                }
            },
        },
        Overlay::Secret { secret, copied, .. } => match press.code {
            Code::Char('y') => {
                *copied = true;
                cmds.push(Cmd::Copy(secret.0.clone()));
                true
            }
            // Only Esc: a stray Enter must not take the secret away.
            code => code != Code::Esc,
        },
        Overlay::Quit { .. } => {
            if press.code == Code::Char('y') {
                return vec![Cmd::Quit];
            }
            !(closes(press) || press.code == Code::Char('n'))
        }
    };
    if stays {
        model.overlay = Some(overlay);
    }
    cmds
}

enum Step {
    Stay,
    Leave,
    Do,
}

fn closes(press: Press) -> bool {
    matches!(press.code, Code::Esc | Code::Enter | Code::Char('q' | '?'))
}

fn page(scroll: &mut usize, press: Press) -> bool {
    match press.code {
        Code::Down | Code::Char('j') => *scroll = scroll.saturating_add(1),
        Code::Up | Code::Char('k') => *scroll = scroll.saturating_sub(1),
        Code::PageDown | Code::Char('d' | ' ') => *scroll = scroll.saturating_add(10),
        Code::PageUp | Code::Char('u') => *scroll = scroll.saturating_sub(10),
        Code::Home | Code::Char('g') => *scroll = 0,
        _ => return !closes(press),
    }
    // Nothing that is shown is longer.
    *scroll = (*scroll).min(500);
    true
}

/// `None` = it stays open; `Some(None)` = closed; `Some(Some(..))` = chosen.
#[expect(clippy::option_option, reason = "closed and chosen are two ends of one dialog")]
fn in_palette(model: &Model, state: &mut Palette, press: Press) -> Option<Option<palette::Choice>> {
    let matches = palette::matches(model, state.input.text());
    match press.code {
        Code::Esc => Some(None),
        Code::Enter => Some(matches.into_iter().nth(state.at).map(|found| found.choice)),
        Code::Down | Code::Tab => {
            state.at = (state.at + 1).min(matches.len().saturating_sub(1));
            None
        }
        Code::Up | Code::BackTab => {
            state.at = state.at.saturating_sub(1);
            None
        }
        Code::Backspace if state.input.text().is_empty() => Some(None),
        _ => {
            state.input.press(press);
            state.at = 0;
            None
        }
    }
}

fn in_confirm(confirm: &mut Confirm, press: Press) -> Step {
    const ORDER: [Focus; 4] = [Focus::Name, Focus::Reason, Focus::Cancel, Focus::Confirm];
    let typed = confirm.wants_reason();
    let order = match confirm.level {
        Level::Name => &ORDER[..],
        Level::Reason => &ORDER[1..],
        Level::None | Level::Yes | Level::Form => &ORDER[2..],
    };
    let at = order.iter().position(|focus| *focus == confirm.focus).unwrap_or(0);
    let typing = matches!(confirm.focus, Focus::Name | Focus::Reason);
    match press.code {
        Code::Esc => return Step::Leave,
        Code::Tab | Code::Down => confirm.focus = order[(at + 1) % order.len()],
        Code::BackTab | Code::Up => confirm.focus = order[(at + order.len() - 1) % order.len()],
        Code::Left | Code::Right if !typing => {
            confirm.focus =
                if confirm.focus == Focus::Cancel { Focus::Confirm } else { Focus::Cancel };
        }
        Code::Enter => match confirm.focus {
            Focus::Name => confirm.focus = Focus::Reason,
            Focus::Reason | Focus::Cancel if typing => confirm.focus = Focus::Cancel,
            Focus::Reason | Focus::Cancel => return Step::Leave,
            Focus::Confirm if confirm.is_complete() => return Step::Do,
            Focus::Confirm => confirm.focus = order[0],
        },
        Code::Char('y') if !typed => return Step::Do,
        Code::Char('n') if !typed => return Step::Leave,
        _ => match confirm.focus {
            Focus::Name => {
                confirm.typed.press(press);
            }
            Focus::Reason => {
                confirm.reason.press(press);
            }
            Focus::Cancel | Focus::Confirm => {}
        },
    }
    Step::Stay
}

fn in_form(model: &Model, form: &mut Form, press: Press) -> Step {
    let stops = form.fields.len() + 2;
    let confirm_at = form.confirm_at();
    let cancel_at = form.cancel_at();
    let focus = form.focus;
    let field = form.fields.get_mut(focus);
    match press.code {
        Code::Esc => return Step::Leave,
        Code::Tab => form.focus = (focus + 1) % stops,
        Code::BackTab => form.focus = (focus + stops - 1) % stops,
        Code::Enter if focus == cancel_at => return Step::Leave,
        Code::Enter if focus == confirm_at => return Step::Do,
        // From the last field over Cancel to the button: it takes one more Enter there.
        Code::Enter => form.focus = if focus + 1 == cancel_at { confirm_at } else { focus + 1 },
        Code::Left | Code::Right if focus >= cancel_at => {
            form.focus = if focus == cancel_at { confirm_at } else { cancel_at };
        }
        Code::Down | Code::Up => match field {
            Some(FormField { kind: FieldKind::Customer { at }, input, .. }) => {
                let last = matching_customers(model, input.text()).len().saturating_sub(1);
                *at = if press.code == Code::Down {
                    (*at + 1).min(last)
                } else {
                    at.saturating_sub(1)
                };
            }
            _ if press.code == Code::Down => form.focus = (focus + 1) % stops,
            _ => form.focus = (focus + stops - 1) % stops,
        },
        _ => {
            if let Some(field) = field
                && field.input.press(press)
                && let FieldKind::Customer { at } = &mut field.kind
            {
                *at = 0;
            }
        }
    }
    Step::Stay
}

/// The customers whose name or id holds what was typed.
pub(crate) fn matching_customers<'a>(model: &'a Model, typed: &str) -> Vec<&'a Customer> {
    let Some(Ok(customers)) = &model.customers else { return Vec::new() };
    let typed = typed.to_lowercase();
    customers
        .iter()
        .filter(|customer| {
            customer.name.to_lowercase().contains(&typed)
                || customer.id.to_lowercase().contains(&typed)
        })
        .collect()
}

/// Turns a filled form into what it is for, or says what is wrong with it.
fn submit(model: &mut Model, form: &Form) -> Result<Vec<Cmd>, String> {
    let value = |label: &str| {
        form.fields
            .iter()
            .find(|field| field.label == label)
            .map_or("", |field| field.input.text().trim())
    };
    match &form.purpose {
        Purpose::NewKey => {
            let Some(FormField { input, kind: FieldKind::Customer { at }, .. }) =
                form.fields.first()
            else {
                return Err("no customer".to_owned());
            };
            let customer = matching_customers(model, input.text())
                .get(*at)
                .map(|customer| (customer.id.clone(), customer.suspended))
                .ok_or("no customer matches")?;
            if customer.1 {
                return Err("the customer is suspended".to_owned());
            }
            let name = value("name").to_owned();
            if !NAME_CHARS.contains(&name.chars().count()) {
                return Err("the name needs 3 to 100 characters".to_owned());
            }
            let budget_ncr = match value("budget USD") {
                "" => None,
                typed => Some(format::parse_usd(typed).ok_or("the budget is not an amount")?),
            };
            let limits = limits_of(&value)?;
            let new = NewKey { customer_id: customer.0, name: name.clone(), limits, budget_ncr };
            let call = call(model, Verb::CreateKey(new), String::new(), name, 0);
            Ok(send(model, call))
        }
        Purpose::Limits { key_id, name, version } => {
            let budget_ncr = match value("budget USD") {
                "" => None,
                "none" => Some(None),
                typed => Some(Some(format::parse_usd(typed).ok_or("the budget is not an amount")?)),
            };
            let change = KeyLimits { limits: limits_of(&value)?, budget_ncr };
            let verb = Verb::LimitKey(change);
            let call = call(model, verb, key_id.clone(), name.clone(), *version);
            Ok(send(model, call))
        }
        Purpose::Weight { backend, version, now } => {
            let weight = value("weight")
                .parse::<u32>()
                .ok()
                .filter(|weight| *weight <= WEIGHT_MAX)
                .ok_or("the weight is a number from 0 to 1000")?;
            if weight == *now {
                return Err(format!("it is {now} already"));
            }
            let verb = Verb::Weight(weight);
            let call = call(model, verb, backend.clone(), backend.clone(), *version);
            Ok(send(model, call))
        }
        Purpose::ProviderBounds { provider_id, name, version, now } => {
            let verb = Verb::LimitProvider(providers::bounds_of(&value, now)?);
            let mut call = call(model, verb, provider_id.clone(), name.clone(), *version);
            call.reason = value("reason").to_owned();
            Ok(send(model, call))
        }
        Purpose::Revise { model: name, version } => {
            let verb = Verb::Revise(plans::draft_of(&value)?);
            let mut call = call(model, verb, name.clone(), name.clone(), *version);
            call.reason = value("reason").to_owned();
            Ok(send(model, call))
        }
        Purpose::StartRollout { model: name, version } => {
            let verb = Verb::StartRollout(plans::start_of(&value)?);
            let mut call = call(model, verb, name.clone(), name.clone(), *version);
            call.reason = value("reason").to_owned();
            Ok(send(model, call))
        }
        Purpose::Export => {
            let file = value("file").to_owned();
            if file.is_empty() {
                return Err("the file has no name".to_owned());
            }
            let text = model.focused_list().map_or_else(String::new, List::export);
            Ok(vec![Cmd::Export { file, text }])
        }
        Purpose::Unlock { context } => {
            if value("context") != context {
                return Err(format!("that is not {context}"));
            }
            model.unlocked_until_ms = Some(model.now.mono_ms + UNLOCK_MS);
            model
                .say(Severity::Warning, format!("changes in {context} are allowed for 10 minutes"));
            Ok(Vec::new())
        }
    }
}

fn limits_of<'a>(value: &impl Fn(&str) -> &'a str) -> Result<Limits, String> {
    let limit = |label: &str| match value(label) {
        "" => Ok(None),
        typed => {
            typed.parse().map(Some).map_err(|_| format!("{label} is not a number of requests"))
        }
    };
    Ok(Limits { direct: limit("direct")?, opengpu: limit("opengpu")?, global: limit("global")? })
}
