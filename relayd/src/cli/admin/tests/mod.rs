//! What can be written, and the shape of what is printed.

mod live;

use clap::Parser;
use relay_proto::admin::v1 as proto;

use super::args::{AdminArgs, ChangeArgs};
use super::change;
use super::context;
use super::format::{Column, Table};
use super::link::Link;
use super::show::Show;

#[derive(Debug, Parser)]
#[command(name = "relayd-admin")]
struct Cli {
    #[command(flatten)]
    admin: AdminArgs,
}

fn parse(line: &str) -> Result<AdminArgs, clap::Error> {
    // Words with blanks are separated by a unit separator.
    let words: Vec<_> = match line.contains('\u{1f}') {
        true => line.split('\u{1f}').collect(),
        false => line.split_whitespace().collect(),
    };
    Cli::try_parse_from(["admin"].into_iter().chain(words)).map(|cli| cli.admin)
}

fn link() -> Link {
    let target = context::Target {
        url: "http://127.0.0.1:1".into(),
        token: "relay_op_x".into(),
        ..context::Target::default()
    };
    Link::open(&target).unwrap()
}

#[test]
fn options_stand_before_or_after_the_noun() {
    for line in [
        "--addr a:1 --json --context c keys list",
        "keys --addr a:1 --json --context c list",
        "keys list --addr a:1 --json --context c",
        "--addr a:1 keys --json list --context c",
    ] {
        let options = parse(line).unwrap().options;
        assert_eq!(options.addr.as_deref(), Some("a:1"), "{line}");
        assert_eq!(options.context.as_deref(), Some("c"), "{line}");
        assert!(options.json, "{line}");
    }
}

#[test]
fn every_verb_can_be_written() {
    for line in [
        "overview",
        "overview show",
        "overview watch --interval 250",
        "whoami",
        "operators list",
        "operators create ann --role viewer",
        "operators revoke ann --reason left",
        "customers list --query acme --limit 3",
        "customers show cus_0123456789abcdef",
        "customers create --name Acme --tier pro --credit 25.5 --email a@b.c",
        "customers update cus_0123456789abcdef --status suspended",
        "customers credit cus_0123456789abcdef --amount -5 --reason refund",
        "keys list --customer c --status revoked",
        "keys show key_0123456789abcdef",
        "keys create --customer c --name ci --deny direct.openai.m --budget 5 --rpm 60",
        "keys update key_0123456789abcdef --clear-budget --expected-version 3",
        "keys revoke key_0123456789abcdef --reason leaked",
        "keys unrevoke key_0123456789abcdef",
        "keys delete key_0123456789abcdef",
        "keys top-up key_0123456789abcdef --amount 1.000000001",
        "models list",
        "models show a/b",
        "tiers list",
        "backends list",
        "backends show gpu-1",
        "backends watch",
        "backends cordon gpu-1",
        "backends uncordon gpu-1",
        "backends drain gpu-1 --reason driver",
        "backends weight gpu-1 50",
        "backends probe gpu-1",
        "hosts list",
        "hosts show local",
        "hosts watch --interval 500",
        "usage show --from 7d --by model,key",
        "requests list --key-id k",
        "requests watch",
        "events list --kind backend",
        "events watch --since 12",
        "audit list --object x",
        "audit verify",
        "apply -f a.toml -f dir --diff",
        "apply -f a.toml dir",
        "export",
    ] {
        let parsed = parse(line);
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
}

#[test]
fn mistakes_are_usage_errors() {
    for line in [
        "",
        "keys",
        "keys revoke key_0123456789abcdef",
        "backends drain gpu-1",
        "customers credit cus_0123456789abcdef --amount 5",
        "customers create --name a --tier b --credit 1e3",
        "operators create ann --role root",
        "keys list --status paused",
        "backends weight gpu-1 1001",
        "overview watch --interval 10",
        "keys update k --budget 5 --clear-budget",
        "whoami --client-cert me.pem",
        "keys create --customer c --name n --request-id not-a-uuid",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn the_arguments_are_sound() {
    <Cli as clap::CommandFactory>::command().debug_assert();
}

#[tokio::test]
async fn lists_page_through_everything() {
    const TABLE: Table = Table::new(&[Column::Left("NAME"), Column::Right("ROLE")]);
    let cells = |row: &proto::Operator| vec![row.name.clone(), row.role.to_string()];
    let fetch = async |page: proto::Page| {
        let from: usize = page.page_token.parse().unwrap_or(0);
        let size = (page.page_size as usize).min(2);
        let names = ["ann", "bob", "eve", "joe", "zoe"];
        let rows: Vec<_> = names[from..]
            .iter()
            .take(size)
            .map(|name| proto::Operator { name: (*name).into(), role: 2, ..Default::default() })
            .collect();
        let next = from + rows.len();
        Ok((rows, if next < names.len() { next.to_string() } else { String::new() }))
    };
    for (limit, count) in [(None, 5), (Some(3), 3), (Some(0), 0)] {
        let mut show = Show::memory(true);
        show.list(&link(), "operators", limit, fetch, &TABLE, cells).await.unwrap();
        let json: serde_json::Value = serde_json::from_str(&show.taken()).unwrap();
        assert_eq!(json["operators"].as_array().unwrap().len(), count);
        if count > 0 {
            assert_eq!(json["operators"][0]["role"], "operator");
        }
    }
    let mut show = Show::memory(false);
    show.list(&link(), "operators", None, fetch, &TABLE, cells).await.unwrap();
    assert_eq!(
        show.taken(),
        "NAME  ROLE\nann      2\nbob      2\neve      2\njoe      2\nzoe      2\n"
    );
}

#[tokio::test]
async fn failures_say_what_to_do_next() {
    let link = link();
    for (status, end) in [
        (
            tonic::Status::unauthenticated("unknown token."),
            "RELAY_OPERATOR_TOKEN or in the context",
        ),
        (
            tonic::Status::permission_denied("needs the role admin"),
            "ask an operator who has that role",
        ),
        (tonic::Status::aborted("the key is at version 4, not 3"), "leave --expected-version out"),
        (tonic::Status::not_found("there is no key"), "there is no key"),
        (tonic::Status::internal("x"), "its log has the cause"),
    ] {
        let super::Problem(text) = link.problem(&status);
        assert!(text.ends_with(end), "{text}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let link = link();
    let mut show = Show::memory(true);
    let super::Problem(text) = super::overview::whoami(&link, &mut show).await.unwrap_err();
    assert!(text.starts_with("cannot reach relayd at http://127.0.0.1:1"), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_change_that_lost_a_race_is_tried_once_more_with_the_newer_version() {
    let link = link();
    let versions = std::cell::Cell::new(3);
    let read = async || {
        versions.set(versions.get() + 1);
        Ok(versions.get())
    };
    let tries = std::cell::Cell::new(0);
    let act = async |change: proto::Change| {
        tries.set(tries.get() + 1);
        if change.expected_version < 5 {
            return Err(tonic::Status::aborted("version 5, expected 4"));
        }
        Ok(tonic::Response::new(change))
    };
    let done = change::update(&link, &ChangeArgs::default(), read, act).await.unwrap();
    assert_eq!((done.expected_version, tries.get()), (5, 2));
    assert!(uuid::Uuid::parse_str(&done.request_id).is_ok());

    tries.set(0);
    let given = ChangeArgs { expected_version: Some(4), ..ChangeArgs::default() };
    let super::Problem(text) = change::update(&link, &given, read, act).await.unwrap_err();
    assert_eq!(tries.get(), 1, "a version that the caller gave is not replaced");
    assert!(text.contains("version 5, expected 4"), "{text}");
}
