//! Engines that relayd may have started here, from templates of this host's owner.
//!
//! relayd asks for a deployment: a model of a template, a few bounded parameters and how many
//! instances. Everything that is run (program, arguments, variables, ports, files) stands in the
//! owner's configuration; what is asked for only chooses among it. An instance is a child that is
//! kept running, and an engine of this host like any other.
//!
//! Invariants: nothing is started that no template describes, and never more of it than the
//! template says; what is asked twice is done once; an instance that is to go takes no new
//! request before it is stopped; every child ends with the agent.

mod pull;
mod template;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relay_proto::fleet::v1 as proto;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use template::TEMPLATES_MAX;
pub use template::{Parameter, Template};

use super::config::{ENGINES_MAX, EngineConfig};
use super::forward::{Engines, LocalEngine};
use crate::engines::Probe;
use crate::launch::{Backoff, Child, ChildState, Guard};
use template::Plan;

/// Most deployments of one host.
const DEPLOYMENTS_MAX: usize = 16;

/// Longest id of a deployment, in bytes.
const ID_MAX_BYTES: usize = 64;

/// Lines of its output that are told of an instance, and the longest of them, in characters.
const LINES_TOLD: usize = 5;
const LINE_MAX_CHARS: usize = 160;

/// Time from the word that an instance goes until it is stopped at the earliest: relayd hears it
/// within a second and sends no more requests.
const NOTICE: Duration = Duration::from_secs(3);

/// How long requests that run on an instance that goes may go on.
const DRAIN: Duration = Duration::from_secs(120);

/// Time between two looks at whether they have ended.
const LOOK: Duration = Duration::from_millis(50);

/// Time that an engine has to end when it is stopped.
const GRACE: Duration = Duration::from_secs(10);

/// The deployments of this host.
pub(super) struct Provision {
    templates: Vec<Template>,
    engines: Arc<Engines>,
    guard: Guard,
    deployments: Mutex<BTreeMap<String, Deployment>>,
    /// Instances that are fetched for or emptied.
    tasks: TaskTracker,
    /// The agent ends.
    ending: CancellationToken,
}

struct Deployment {
    /// Its template's place.
    template: usize,
    plan: Plan,
    instances: Vec<Instance>,
}

struct Instance {
    engine: Arc<LocalEngine>,
    child: Child,
    /// Ends what is done for it.
    gone: CancellationToken,
}

/// What relayd asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) template: String,
    pub(super) model: String,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) replicas: u32,
}

impl Provision {
    pub(super) fn new(templates: &[Template], engines: Arc<Engines>, guard: Guard) -> Self {
        Self {
            templates: templates.to_vec(),
            engines,
            guard,
            deployments: Mutex::default(),
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
        }
    }

    /// Makes a deployment be as it is asked for.
    ///
    /// # Errors
    /// Why it is refused, in a sentence; nothing changes then.
    pub(super) fn deploy(&self, asked: &Asked) -> Result<(), String> {
        let id = asked.id.as_str();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if id.is_empty() || id.len() > ID_MAX_BYTES || !id.bytes().all(plain) {
            return Err(format!("deployment_id: 1 to {ID_MAX_BYTES} of a-z, 0-9 and underscore"));
        }
        let (at, template) = self
            .templates
            .iter()
            .enumerate()
            .find(|(_, template)| template.name == asked.template)
            .ok_or("this host's agent.toml has no template of that name")?;
        let plan = template.plan(&asked.model, &asked.parameters)?;
        let wanted = usize::try_from(asked.replicas).unwrap_or(usize::MAX);
        if wanted == 0 {
            return Err("replicas: at least 1; to run none, remove the deployment".to_owned());
        }
        let mut all = self.deployments();
        if self.ending.is_cancelled() {
            return Err("this agent ends".to_owned());
        }
        match all.get(id) {
            Some(known) if known.template != at || known.plan != plan => {
                return Err("a deployment of that id runs something else".to_owned());
            }
            Some(_) => {}
            None if all.len() >= DEPLOYMENTS_MAX => {
                return Err(format!("this host runs at most {DEPLOYMENTS_MAX} deployments"));
            }
            None => {}
        }
        let others: usize = all
            .iter()
            .filter(|(known, other)| known.as_str() != id && other.template == at)
            .map(|(_, other)| other.instances.len())
            .sum();
        let most = usize::from(template.max_instances);
        if wanted.saturating_add(others) > most {
            return Err(format!("template {} runs at most {most} instances", template.name));
        }
        let mut deployment = all.remove(id).unwrap_or_else(|| {
            tracing::info!(
                deployment = id,
                template = template.name,
                plan.model,
                "a deployment begins"
            );
            Deployment { template: at, plan, instances: Vec::new() }
        });
        let scaled = self.scale(id, template, &mut deployment, wanted);
        all.insert(id.to_owned(), deployment);
        scaled
    }

    /// Ends a deployment. One that is not known has ended.
    pub(super) fn remove(&self, id: &str) {
        let gone = self.deployments().remove(id);
        for instance in gone.into_iter().flat_map(|gone| gone.instances) {
            tracing::info!(deployment = id, engine = instance.engine.name(), "an instance goes");
            self.end(instance);
        }
    }

    /// How every deployment is.
    pub(super) fn told(&self) -> Vec<proto::DeploymentStatus> {
        let all = self.deployments();
        let each = all.iter().map(|(id, deployment)| proto::DeploymentStatus {
            deployment_id: id.clone(),
            template: self.templates[deployment.template].name.clone(),
            model: deployment.plan.model.clone(),
            replicas: u32::try_from(deployment.instances.len()).unwrap_or(u32::MAX),
            instances: deployment.instances.iter().map(Instance::told).collect(),
        });
        each.collect()
    }

    /// Ends every child; no deployment begins any more.
    pub(super) async fn end_all(&self) {
        self.ending.cancel();
        let all = std::mem::take(&mut *self.deployments());
        let ends = all.into_values().flat_map(|deployment| deployment.instances).map(|instance| {
            instance.gone.cancel();
            instance.child.stop()
        });
        futures::future::join_all(ends).await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn scale(
        &self,
        id: &str,
        template: &Template,
        deployment: &mut Deployment,
        wanted: usize,
    ) -> Result<(), String> {
        while deployment.instances.len() > wanted {
            let Some(instance) = deployment.instances.pop() else { break };
            tracing::info!(deployment = id, engine = instance.engine.name(), "an instance goes");
            self.end(instance);
        }
        while deployment.instances.len() < wanted {
            let instance = self.begin(id, template, &deployment.plan)?;
            tracing::info!(deployment = id, engine = instance.engine.name(), "an instance begins");
            deployment.instances.push(instance);
        }
        Ok(())
    }

    fn begin(&self, id: &str, template: &Template, plan: &Plan) -> Result<Instance, String> {
        if self.engines.len() >= ENGINES_MAX {
            return Err(format!("this host runs at most {ENGINES_MAX} engines"));
        }
        let [first, last] = template.ports;
        let port = (first..=last)
            .find(|port| !self.engines.has(&template.engine(*port)) && is_free(*port))
            .ok_or("every port of the template is taken")?;
        let engine = self.engines.add(
            EngineConfig {
                name: template.engine(port),
                url: format!("http://127.0.0.1:{port}"),
                kind: template.kind,
                dialect: template.dialect,
                max_concurrency: template.max_concurrency,
            },
            id,
        );
        let child = Child::start(template.child(plan, port), self.guard.clone(), GRACE);
        let gone = self.ending.child_token();
        if template.pull {
            engine.hold("its model is to be fetched");
            let (engine, reference) = (Arc::clone(&engine), plan.reference.clone());
            let fetched = gone.clone().run_until_cancelled_owned(fetch(engine, reference));
            self.tasks.spawn(fetched);
        }
        Ok(Instance { engine, child, gone })
    }

    /// Stops an instance once nothing runs on it, without waiting here.
    fn end(&self, instance: Instance) {
        let Instance { engine, child, gone } = instance;
        gone.cancel();
        engine.drain();
        let (engines, ending) = (Arc::clone(&self.engines), self.ending.clone());
        self.tasks.spawn(async move {
            let emptied = async {
                sleep(NOTICE).await;
                let until = Instant::now() + DRAIN;
                while engine.running() > 0 && Instant::now() < until {
                    sleep(LOOK).await;
                }
            };
            ending.run_until_cancelled(emptied).await;
            child.stop().await;
            engines.remove(engine.name());
        });
    }

    fn deployments(&self) -> MutexGuard<'_, BTreeMap<String, Deployment>> {
        // Every section leaves the map whole, so a panic elsewhere spoils nothing.
        self.deployments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Instance {
    fn told(&self) -> proto::InstanceStatus {
        let (probe, held) = self.engine.state();
        let (state, reason) = match &*self.child.watch().borrow() {
            ChildState::Resting { starts, why } => ("resting", format!("start {starts}: {why}")),
            ChildState::Stopped => ("stopped", String::new()),
            ChildState::Starting { .. } | ChildState::Ready { .. } => match (probe, held) {
                (Probe::Up, None) => ("up", String::new()),
                (Probe::Up, Some(progress)) => ("pulling", progress),
                (Probe::Loading, _) => ("loading", String::new()),
                (Probe::Down(why), _) => ("starting", why),
            },
        };
        let lines = self.child.last_lines();
        let from = lines.len().saturating_sub(LINES_TOLD);
        let cut = |text: &str| text.chars().take(LINE_MAX_CHARS).collect::<String>();
        proto::InstanceStatus {
            engine: self.engine.name().to_owned(),
            state: state.to_owned(),
            reason: cut(&reason),
            lines: lines[from..].iter().map(|line| cut(line)).collect(),
        }
    }
}

/// Has an engine fetch its model, again and again until it is there.
async fn fetch(engine: Arc<LocalEngine>, reference: String) {
    let mut backoff = Backoff::new(rand::random());
    loop {
        while engine.state().0 != Probe::Up {
            sleep(LOOK).await;
        }
        let began = Instant::now();
        match pull::pull(engine.base(), &reference, |progress| engine.hold(&progress)).await {
            Ok(()) => return engine.let_go(),
            Err(why) => {
                tracing::warn!(engine = engine.name(), why, "a model could not be fetched");
                engine.hold(&format!("could not be fetched: {why}"));
            }
        }
        sleep(backoff.pause(began.elapsed())).await;
    }
}

/// Whether nobody listens on a port of this host's loopback.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
