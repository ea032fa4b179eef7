//! `events` and `audit`.

use clap::Subcommand;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::audit_service_client::AuditServiceClient;
use relay_proto::admin::v1::events_service_client::EventsServiceClient;
use relay_proto::admin::v1::events_update::Update;

use super::Problem;
use super::args::Limit;
use super::format::Column::{Left, Right};
use super::format::{Table, or_dash, plain, time};
use super::link::Link;
use super::show::Show;

const EVENTS: Table = Table::new(&[
    Right("SEQ"),
    Left("WHEN"),
    Left("SEVERITY"),
    Left("KIND"),
    Left("SUBJECT"),
    Left("TEXT"),
]);
const AUDIT: Table = Table::new(&[
    Right("SEQ"),
    Left("WHEN"),
    Left("OPERATOR"),
    Left("ACTION"),
    Left("OBJECT"),
    Left("REASON"),
]);

#[derive(Debug, Subcommand)]
pub(super) enum EventsVerb {
    /// What happened, newest first.
    #[command(alias = "ls")]
    List {
        /// Only kinds that begin so: backend, key.revoked.
        #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
        kind: String,
        /// Only what is about this backend, key or customer.
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        subject: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Each event as it happens, until interrupted.
    Watch {
        /// Begin after this sequence number; 0 shows only what comes.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        since: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditVerb {
    /// Who changed what, newest first.
    #[command(alias = "ls")]
    List {
        /// Only changes of this object.
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        object: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Recompute the chain of hashes; exit 1 where an entry does not follow.
    Verify,
}

pub(super) async fn events(link: &Link, verb: EventsVerb, show: &mut Show) -> Result<(), Problem> {
    let mut client = EventsServiceClient::new(link.wire());
    match verb {
        EventsVerb::List { kind, subject, limit: Limit { limit } } => {
            let fetch = async |page| {
                let request = proto::ListEventsRequest {
                    page: Some(page),
                    kind_prefix: kind.clone(),
                    subject: subject.clone(),
                };
                let answer = client.clone().list_events(request).await?.into_inner();
                Ok((answer.events, answer.next_page_token))
            };
            show.list(link, "events", limit, fetch, &EVENTS, cells).await
        }
        EventsVerb::Watch { since } => {
            let opened = client.watch_events(proto::WatchEventsRequest { since_seq: since }).await;
            show.watch(link, opened, |update: &proto::EventsUpdate| match &update.update {
                Some(Update::Event(event)) => Some(line(event)),
                Some(Update::ResyncBefore(seq)) => {
                    Some(format!("... events before {seq} were skipped"))
                }
                Some(Update::Heartbeat(_)) | None => None,
            })
            .await
        }
    }
}

pub(super) async fn audit(link: &Link, verb: AuditVerb, show: &mut Show) -> Result<(), Problem> {
    let mut client = AuditServiceClient::new(link.wire());
    match verb {
        AuditVerb::List { object, limit: Limit { limit } } => {
            let fetch = async |page| {
                let request = proto::ListAuditRequest { page: Some(page), object: object.clone() };
                let answer = client.clone().list_audit(request).await?.into_inner();
                Ok((answer.entries, answer.next_page_token))
            };
            show.list(link, "entries", limit, fetch, &AUDIT, entry).await
        }
        AuditVerb::Verify => {
            let answer = client.verify_audit(proto::VerifyAuditRequest {}).await;
            let found = answer.map_err(|status| link.problem(&status))?.into_inner();
            show.one(&found, |found| {
                format!("{} entries, head {}", found.entries, or_dash(&found.head))
            })?;
            match found.broken_at_seq {
                0 => Ok(()),
                seq => Err(Problem::new(format!(
                    "the audit log was altered: entry {seq} does not follow the one before it; \
                     compare with a backup"
                ))),
            }
        }
    }
}

fn severity(event: &proto::Event) -> String {
    proto::Severity::try_from(event.severity).unwrap_or_default().word()
}

fn line(event: &proto::Event) -> String {
    plain(&format!(
        "{} {} {} {} {}",
        time(event.at_ms),
        severity(event),
        event.kind,
        or_dash(&event.subject),
        event.text
    ))
}

fn cells(event: &proto::Event) -> Vec<String> {
    vec![
        event.seq.to_string(),
        time(event.at_ms),
        severity(event),
        event.kind.clone(),
        or_dash(&event.subject),
        event.text.clone(),
    ]
}

fn entry(entry: &proto::AuditEntry) -> Vec<String> {
    vec![
        entry.seq.to_string(),
        time(entry.at_ms),
        format!("{} ({})", entry.operator, entry.role),
        entry.action.clone(),
        or_dash(&entry.object),
        or_dash(&entry.reason),
    ]
}
