//! What can be written on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::backends::BackendsVerb;
use super::catalogue::ApplyArgs;
use super::customers::CustomersVerb;
use super::history::{AuditVerb, EventsVerb};
use super::hosts::HostsVerb;
use super::keys::KeysVerb;
use super::models::{ModelsVerb, TiersVerb};
use super::operators::OperatorsVerb;
use super::overview::OverviewVerb;
use super::providers::ProvidersVerb;
use super::rollouts::RolloutsVerb;
use super::usage::{RequestsVerb, UsageVerb};

const EXAMPLES: &str = "\
Examples:
  relayd admin overview
  relayd admin customers create --name Acme --tier pro --credit 25
  relayd admin keys create --customer cus_0123456789abcdef --name ci
  relayd admin keys revoke key_0123456789abcdef --reason 'leaked in a log'
  relayd admin keys list --json | jq -r '.keys[].name'
  relayd admin backends drain gpu-1 --reason 'driver update'
  relayd admin providers approve prov_0123456789abcdef
  relayd admin rollouts revise llama --target gpu-2=llama-v2 --note 'new weights'
  relayd admin rollouts start llama 2 --steps 1,10,50,100 --window 5m
  relayd admin usage show --from 7d --by model,customer
  relayd admin apply -f config/catalogue --diff
  relayd admin --context production events watch

Where it connects: --addr, else the context, else 127.0.0.1:8701. The token comes from
RELAY_OPERATOR_TOKEN, else from the context. Contexts stand in ~/.config/relay/contexts.toml:

  [context.production]
  addr = \"https://relay.example.com:8701\"
  token_file = \"/home/me/.relay-token\"
  ca = \"ca.pem\"
  cert = \"me.pem\"
  key = \"me-key.pem\"";

/// Administer a running relayd.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AdminArgs {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(subcommand)]
    pub(super) noun: Noun,
}

/// Options of every verb; they may stand before or after the noun.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection and output")]
pub(super) struct Options {
    /// The admin listener: host:port, or a URL with http or https.
    #[arg(long, global = true, value_name = "ADDR", env = "RELAY_ADMIN_ADDR")]
    pub(super) addr: Option<String>,
    /// Print JSON with the protocol's own field names.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// A context of the contexts file; without it the one named "default", if there is one.
    #[arg(long, global = true, value_name = "NAME", env = "RELAY_CONTEXT")]
    pub(super) context: Option<String>,
    /// The contexts file [default: ~/.config/relay/contexts.toml].
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The authority that the server's certificate is checked against, PEM.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// The client certificate, PEM.
    #[arg(long, alias = "cert", global = true, value_name = "FILE", requires = "client_key")]
    pub(super) client_cert: Option<PathBuf>,
    /// The client certificate's private key, PEM.
    #[arg(long, alias = "key", global = true, value_name = "FILE", requires = "client_cert")]
    pub(super) client_key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Noun {
    /// Traffic, money and backends on one page, and what needs a person.
    Overview {
        #[command(subcommand)]
        verb: Option<OverviewVerb>,
    },
    /// Who the token belongs to, and what answers.
    Whoami,
    /// People and scripts that hold a token for the admin plane.
    Operators {
        #[command(subcommand)]
        verb: OperatorsVerb,
    },
    /// Who pays.
    Customers {
        #[command(subcommand)]
        verb: CustomersVerb,
    },
    /// API keys and what they used today.
    Keys {
        #[command(subcommand)]
        verb: KeysVerb,
    },
    /// Models and their prices.
    Models {
        #[command(subcommand)]
        verb: ModelsVerb,
    },
    /// Tiers and their limits.
    Tiers {
        #[command(subcommand)]
        verb: TiersVerb,
    },
    /// The inference servers that relayd calls.
    Backends {
        #[command(subcommand)]
        verb: BackendsVerb,
    },
    /// Independent owners of GPUs: invite, look at the evidence, decide.
    Providers {
        #[command(subcommand)]
        verb: ProvidersVerb,
    },
    /// Revisions of models, and how traffic moves from one to the next.
    Rollouts {
        #[command(subcommand)]
        verb: RolloutsVerb,
    },
    /// The machines that relayd and its providers run on, and their GPUs.
    Hosts {
        #[command(subcommand)]
        verb: HostsVerb,
    },
    /// What was used, in totals.
    Usage {
        #[command(subcommand)]
        verb: UsageVerb,
    },
    /// What was served, one by one.
    Requests {
        #[command(subcommand)]
        verb: RequestsVerb,
    },
    /// What happened.
    Events {
        #[command(subcommand)]
        verb: EventsVerb,
    },
    /// Who changed what, and why.
    Audit {
        #[command(subcommand)]
        verb: AuditVerb,
    },
    /// Make the database say what these files say; what they do not name stays.
    Apply(ApplyArgs),
    /// Print the catalogue and the backends as `apply` takes them.
    Export,
}

/// A filter's bound: without it every page is fetched.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Limit {
    /// Stop after this many rows.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

/// What a change carries. All of it is filled in when it is left out.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ChangeArgs {
    /// A UUID; the same one again returns the first result and changes nothing.
    #[arg(long, value_name = "UUID")]
    pub(super) request_id: Option<Uuid>,
    /// Refuse unless the object still has this version.
    #[arg(long, value_name = "N")]
    pub(super) expected_version: Option<u64>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
}

/// What a change that needs a reason carries.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ReasonedArgs {
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
    /// A UUID; the same one again returns the first result and changes nothing.
    #[arg(long, value_name = "UUID")]
    pub(super) request_id: Option<Uuid>,
    /// Refuse unless the object still has this version.
    #[arg(long, value_name = "N")]
    pub(super) expected_version: Option<u64>,
}

impl From<ReasonedArgs> for ChangeArgs {
    fn from(args: ReasonedArgs) -> Self {
        Self {
            request_id: args.request_id,
            expected_version: args.expected_version,
            reason: args.reason,
        }
    }
}

/// How often a watch speaks.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Interval {
    /// The least time between two updates, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(100..=60_000))]
    pub(super) interval: u32,
}
