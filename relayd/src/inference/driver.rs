//! The driver of one request: it owns hold, upstream and settlement, and ends each exactly once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::client::Client;
use super::count::{self, Count};
use super::dispatch::{self, Begun, Body, Failure};
use super::plan::Window;
use super::task::{Task, left, millis, now_ms};
use super::{Call, Inner, Reply, answer, conduct, contest, own, shadow, stages, stream};
use crate::balance::Demand;
use crate::domain::{BackendId, Code, Execution, Fault, Meter, Meters, Ncr, ProviderId};
use crate::engines::Blame;
use crate::fleet::{Outcome, Trust};
use crate::ledger::{self, CountSource, Usage, UsageStatus};
use crate::metering::{Hold, HoldSpec, Settled};
use crate::observe::{self, End, LiveRequest, NewRequest};
use crate::rollouts::{Assignment, SampleEnd};
use crate::routing::{Permit, Refusal};
use crate::telemetry::names;

/// How a request ended, before it is settled.
pub(super) struct Ending {
    pub(super) status: UsageStatus,
    pub(super) fault: Option<Fault>,
    pub(super) blame: Option<Blame>,
    pub(super) count: Count,
    pub(super) backend: Option<BackendId>,
    /// Who earns by the answer.
    pub(super) provider: Option<ProviderId>,
    pub(super) attempt: u32,
    pub(super) ttft: Option<Duration>,
    pub(super) sent: Option<Instant>,
}

/// Runs one request.
pub(super) struct Driver {
    inner: Arc<Inner>,
    task: Task,
}

impl Driver {
    pub(super) fn new(inner: Arc<Inner>, call: Call) -> Self {
        let task = Task::new(&inner, call);
        Self { inner, task }
    }

    /// Runs to the end, whatever the client does.
    pub(super) async fn run(self, head: oneshot::Sender<Result<Reply, Fault>>) {
        let span = self.task.span.clone();
        self.drive(Client::Waiting(head)).instrument(span).await;
    }

    async fn drive(self, mut client: Client) {
        let live = self.inner.observe.begin(self.new_request());
        let window = self.window();
        let (mut hold, begun) = match self.begin(&mut client, &live, window).await {
            Ok(begun) => begun,
            Err(Refused { hold, failure }) => {
                self.not_begun(client, live, hold, failure).await;
                return;
            }
        };
        let Begun { assignment, permit, attempt, sent, measured, body } = begun;
        let (backend, provider) = (permit.backend().id().clone(), permit.backend().provider());
        let ttft = measured.map_or_else(|| sent.elapsed(), |(ttft, _)| ttft);
        let first = self.task.began.elapsed();
        live.first_byte();
        permit.first_byte(ttft);
        let model = self.task.model_label();
        metrics::histogram!(names::TTFT, "gen_ai_request_model" => model.clone())
            .record(first.as_secs_f64());
        let ended = match body {
            Body::Whole(whole) => {
                permit.report(Outcome::Ok { ttft });
                drop(permit);
                self.whole(*whole).await
            }
            Body::Stream { translator, upstream, frames } => {
                let provided = permit.backend().spec.trust == Trust::Provider;
                let relay = stream::Relay {
                    inner: &self.inner,
                    task: &self.task,
                    live: &live,
                    client: &mut client,
                    hold: &mut hold,
                    window,
                    runtime: &permit.backend().runtime,
                    translator,
                    upstream,
                    provided,
                    waited: Duration::ZERO,
                };
                let mut ended = relay.run(frames).instrument(stages::stream(&self.task)).await;
                if let Some(heard) = &ended.heard {
                    ended.count = own::count(&self.inner, &self.task, heard).await;
                }
                permit.report(ended.outcome(ttft));
                permit.backend().runtime.add_tokens_out(ended.count.meters.output());
                drop(permit);
                ended
            }
        };
        // An answer that came whole was generated until it came. Of a stream only the waiting for
        // its engine counts, as copies that nobody reads do: how slowly it was read is the caller's.
        let generating = match measured {
            Some((_, generating)) if self.task.request.stream() => generating,
            None if self.task.request.stream() => ended.waited,
            _ => ttft,
        };
        let sample = ended.sample(ttft, generating);
        let used = Demand {
            input_tokens: ended.count.meters.input(),
            output_tokens: ended.count.meters.output(),
        };
        self.inner.router.used(&self.task.ask(None, &[], self.task.until), &used);
        if let Some(provider) = &provider {
            conduct::ended(&self.inner, &self.task, &assignment, provider, &ended, ttft);
        }
        match self.task.copies.first() {
            // The running revision stood in for it.
            Some(first) if first.number() != assignment.number() => {
                self.tell(&first, SampleEnd::Failed);
            }
            _ => self.tell(&assignment, sample),
        }
        let ending = Ending {
            status: ended.status,
            fault: ended.fault.clone(),
            blame: ended.blame,
            count: ended.count,
            backend: Some(backend),
            provider,
            attempt,
            ttft: Some(ttft),
            sent: Some(sent),
        };
        live.settling();
        let settled = self.settle(hold, &ending).instrument(stages::settle(&self.task)).await;
        self.last_words(&mut client, ended, first, settled.as_ref()).await;
        self.record(&ending, settled.as_ref(), &model);
        live.ended(self.end(&ending, settled.as_ref()));
    }

    /// Covers the request and finds its first content.
    async fn begin(
        &self,
        client: &mut Client,
        live: &LiveRequest,
        window: Window,
    ) -> Result<(Hold, Begun), Refused> {
        let refused = |fault| Refused { hold: None, failure: Failure::early(fault) };
        let amount =
            self.task.ceiling.price(&self.task.offer.price, window.reserved()).map_err(refused)?;
        let spec = self.hold_spec(amount);
        let may_overlap = self.inner.metering.may_overlap(&spec);
        // The reservation is on its way to the writer while a backend is looked for.
        let (holding, stage) = (self.inner.metering.hold(spec), stages::hold(&self.task));
        let pending = async {
            let _stage = stage;
            holding.await
        };
        let until = self.task.queue_until(&self.inner);
        let admitted = async {
            let _stage = stages::queue(&self.task);
            live.queued();
            self.admit(until).await
        };
        tokio::pin!(pending, admitted);
        let mut held: Option<Hold> = None;
        let place = loop {
            tokio::select! {
                biased;
                hold = &mut pending, if held.is_none() => held = Some(hold.map_err(refused)?),
                place = &mut admitted => match place {
                    Ok(place) => {
                        metrics::histogram!(names::QUEUE_WAIT).record(place.0.waited().as_secs_f64());
                        break place;
                    }
                    Err(refusal) => {
                        let hold = match held {
                            Some(hold) => hold,
                            None => pending.await.map_err(refused)?,
                        };
                        return Err(Refused { hold: Some(hold), failure: dispatch::refused(refusal) });
                    }
                },
                () = client.left() => {
                    let hold = match held {
                        Some(hold) => Some(hold),
                        None => pending.await.ok(),
                    };
                    return Err(Refused { hold, failure: Failure::early(left()) });
                }
            }
        };
        // A copy may go to a provider, who is asked for nothing that is not paid for.
        let alone = self.task.execution == Execution::Single;
        let own = place.0.backend().spec.trust == Trust::Own;
        if held.is_none() && !(may_overlap && own && alone) {
            held = Some((&mut pending).await.map_err(refused)?);
        }
        let late = |fault| {
            metrics::counter!(names::OVERLAP_REFUSED).increment(1);
            refused(fault)
        };
        shadow::copy(&self.inner, &self.task);
        let dispatched = contest::run(&self.inner, &self.task, live, place);
        tokio::pin!(dispatched);
        let answer = loop {
            tokio::select! {
                biased;
                // A refusal here cancels the engine's work: the future is dropped with the permit.
                hold = &mut pending, if held.is_none() => held = Some(hold.map_err(late)?),
                answer = &mut dispatched => break answer,
                () = client.left() => {
                    self.given_up();
                    break Err(Failure::early(left()));
                }
                () = self.inner.ending.cancelled() => break Err(Failure::early(super::stopping())),
                () = tokio::time::sleep_until(self.task.until) => {
                    self.given_up();
                    break Err(Failure::early(dispatch::out_of_time(self.inner.bounds.total)));
                }
            }
        };
        let hold = match held {
            Some(hold) => hold,
            None => pending.await.map_err(late)?,
        };
        match answer {
            Ok(begun) => Ok((hold, begun)),
            Err(failure) => Err(Refused { hold: Some(hold), failure }),
        }
    }

    /// A place on a backend of the request's revision. Where a new one has none, the one that
    /// serves takes the request, and it counts against the new one; where that one is busy as well,
    /// it counts against neither.
    async fn admit(&self, until: Instant) -> Result<(Permit, Assignment), Refusal> {
        let first = &self.task.assignment;
        let refusal = match self.place(first, until).await {
            Ok(permit) => return Ok((permit, first.clone())),
            Err(refusal) => refusal,
        };
        let Some(running) = first.fallback() else {
            self.tell(first, said_by(refusal));
            return Err(refusal);
        };
        // One who waited in vain may have a place that is free now.
        match self.place(&running, until).await {
            Ok(permit) => {
                self.tell(first, SampleEnd::Failed);
                Ok((permit, running))
            }
            Err(other) => {
                self.tell(first, said_by(refusal));
                Err(other)
            }
        }
    }

    /// Tells a revision what became of the request, once.
    fn tell(&self, of: &Assignment, end: SampleEnd) {
        if self.task.copies.tell() {
            self.inner.rollouts.observed(&self.task.offer.scope.model, of, end);
        }
    }

    /// Nobody waits any more for a revision's first content: it takes longer than that.
    fn given_up(&self) {
        if let Some((of, ttft)) = self.task.copies.wait() {
            self.tell(&of, SampleEnd::GivenUp { ttft, generating: Duration::ZERO, tokens: 0 });
        }
    }

    async fn place(&self, on: &Assignment, until: Instant) -> Result<Permit, Refusal> {
        self.inner.router.admit(&self.task.ask(on.backends(), &[], until)).await
    }

    /// Ends a request of which nothing was shown.
    async fn not_begun(
        &self,
        mut client: Client,
        live: LiveRequest,
        hold: Option<Hold>,
        failure: Failure,
    ) {
        if let (Some(first), Some(blame)) = (self.task.copies.first(), failure.blame) {
            self.tell(&first, dispatch::sample_of(blame));
        }
        let cancelled = failure.fault.code == Code::Cancelled;
        let ending = Ending {
            status: if cancelled { UsageStatus::Cancelled } else { UsageStatus::Failed },
            blame: failure.blame,
            count: Count {
                meters: Meters::default(),
                source: CountSource::Nobody,
                estimated: false,
                claimed: None,
            },
            backend: failure.backend,
            provider: None,
            attempt: failure.attempt,
            ttft: None,
            sent: None,
            fault: Some(failure.fault),
        };
        if let Some(hold) = hold {
            hold.void(self.usage(&ending)).instrument(stages::settle(&self.task)).await;
        }
        if let Some(fault) = &ending.fault {
            if fault.code == Code::CapacityExhausted {
                self.inner.observe.shed();
                metrics::counter!(names::SHED).increment(1);
            }
            client.refuse(fault.clone());
        }
        self.record(&ending, None, &self.task.model_label());
        live.ended(self.end(&ending, None));
    }

    /// A whole answer, counted, with the counts that are billed in it.
    async fn whole(&self, whole: answer::Whole) -> stream::Ended {
        let Some(provided) = whole.provided else {
            let count = count::count(&whole.read, self.task.request.prompt_bytes(), true);
            return stream::Ended::whole(whole.body, self.task.capped(count), whole.finish);
        };
        let count = own::count(&self.inner, &self.task, &provided.heard).await;
        let body = provided.billed(&self.task, &count.meters).unwrap_or(whole.body);
        let mut ended = stream::Ended::whole(body, count, whole.finish);
        ended.heard = Some(provided.heard);
        ended
    }

    /// Posts the charge. `None` when the ledger could not be reached: the hold stays open for
    /// recovery, which posts the last checkpoint.
    async fn settle(&self, hold: Hold, ending: &Ending) -> Option<Settled> {
        match hold.settle_for(self.usage(ending), ending.provider.clone()).await {
            Ok(settled) => Some(settled),
            Err(fault) => {
                tracing::error!(%fault, "the settlement was not written");
                None
            }
        }
    }

    /// What waits for the commit: a whole body, or a stream's usage and end marker.
    async fn last_words(
        &self,
        client: &mut Client,
        ended: stream::Ended,
        first: Duration,
        settled: Option<&Settled>,
    ) {
        let billed = settled.map_or(ended.count.meters, |settled| settled.meters);
        match ended.rest {
            stream::Rest::Nothing => {}
            stream::Rest::Body(body) => match settled {
                Some(_) => drop(client.answer(body)),
                None => drop(client.refuse(Fault::store_unavailable())),
            },
            stream::Rest::Tail(mut translator, reason) => {
                let mut frames: Vec<Bytes> = Vec::new();
                translator.tail(reason, &billed, &self.task.timing(first), &mut frames);
                client.send(&mut frames, self.inner.bounds.write_stall).await;
            }
            stream::Rest::Fault => {
                let fault = ended.fault.unwrap_or_else(Fault::internal);
                client.fail(fault, self.inner.bounds.write_stall).await;
            }
        }
    }

    fn window(&self) -> Window {
        // What is compared is read whole before any of it is shown.
        if self.task.request.stream() && !self.task.compares() {
            Window::first(&self.task.ceiling, self.inner.bounds.window_tokens)
        } else {
            Window::whole(&self.task.ceiling)
        }
    }

    fn new_request(&self) -> NewRequest {
        let key = self.task.principal.key();
        NewRequest {
            request_id: self.task.request_id,
            key: key.map(|key| key.key_id.clone()),
            key_name: key.map_or_else(|| "".into(), |key| key.name.as_str().into()),
            customer: key.map(|key| key.customer_id.clone()),
            scope: self.task.offer.scope.clone(),
            stream: self.task.request.stream(),
        }
    }

    fn hold_spec(&self, amount: Ncr) -> HoldSpec {
        HoldSpec {
            id: self.task.request_id,
            principal: self.task.principal.clone(),
            price: Arc::clone(&self.task.offer.price),
            amount,
            stream: self.task.request.stream(),
            created_ms: self.task.created_ms,
            deadline: self.inner.bounds.total,
        }
    }

    /// Tells the figures of an ended request.
    fn record(&self, ending: &Ending, settled: Option<&Settled>, model: &str) {
        let model = model.to_owned();
        let outcome = ending.status.as_str();
        metrics::counter!(names::GENERATIONS, "gen_ai_request_model" => model.clone(), "outcome" => outcome)
            .increment(1);
        metrics::histogram!(names::GENERATION, "gen_ai_request_model" => model.clone())
            .record(self.task.began.elapsed().as_secs_f64());
        let meters = settled.map_or(ending.count.meters, |settled| settled.meters);
        for meter in Meter::ALL {
            let quantity = meters.get(meter);
            if quantity > 0 {
                metrics::counter!(names::TOKENS, "gen_ai_request_model" => model.clone(), "gen_ai_token_type" => meter.as_str())
                    .increment(quantity);
            }
        }
        if let (Some(sent), Some(ttft)) = (ending.sent, ending.ttft)
            && meters.output() > 1
        {
            let gaps = meters.output() - 1;
            let generating = sent.elapsed().saturating_sub(ttft).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "a count of tokens, far below 2^52")]
            metrics::histogram!(names::ITL, "gen_ai_request_model" => model)
                .record(generating / gaps as f64);
        }
        stages::ended(&self.task, ending);
        tracing::info!(
            request_id = %self.task.request_id,
            scope = %self.task.offer.scope,
            key = self.task.principal.key().map(|key| key.key_id.as_str()),
            backend = ending.backend.as_ref().map(BackendId::as_str),
            outcome,
            code = ending.fault.as_ref().map(|fault| fault.code.as_str()),
            input = meters.input(),
            output = meters.output(),
            charge_ncr = settled.map(|settled| settled.charge.get()),
            ttft_ms = ending.ttft.map(millis),
            total_ms = millis(self.task.began.elapsed()),
            "chat ended"
        );
    }

    /// The end, for the view of what runs.
    fn end(&self, ending: &Ending, settled: Option<&Settled>) -> End {
        let outcome = match (ending.status, &ending.fault) {
            (UsageStatus::Completed, _) => observe::Outcome::Completed,
            (UsageStatus::Cancelled, _) => observe::Outcome::Cancelled,
            (_, fault) => {
                observe::Outcome::Failed(fault.as_ref().map_or(Code::InternalError, |f| f.code))
            }
        };
        End {
            outcome,
            meters: settled.map_or(ending.count.meters, |settled| settled.meters),
            estimated: ending.count.estimated,
            charged: settled.map_or(Ncr::ZERO, |settled| settled.charge),
        }
    }

    fn usage(&self, ending: &Ending) -> Usage {
        Usage {
            attempt: ending.attempt,
            backend: ending.backend.as_ref().map(ToString::to_string),
            meters: ending.count.meters,
            count: ending.count.source,
            claimed: ending.count.claimed,
            estimated: ending.count.estimated,
            status: ending.status,
            error_code: ending.fault.as_ref().map(|fault| fault.code.as_str().to_owned()),
            blame: ending.blame.map(|blame| match blame {
                Blame::Backend => ledger::Blame::Provider,
                Blame::Client => ledger::Blame::Client,
                Blame::Relay => ledger::Blame::Relay,
            }),
            ttft_ms: ending.ttft.map(millis),
            upstream_ms: ending.sent.map(|sent| millis(sent.elapsed())),
            done_ms: now_ms(),
            task_id: Some(self.task.task_id.clone()),
        }
    }
}

/// What a refusal says of a revision that nobody stood in for: that it is busy is no measure for a
/// new one to be held against.
const fn said_by(refusal: Refusal) -> SampleEnd {
    match refusal {
        Refusal::NoBackend => SampleEnd::Failed,
        Refusal::QueueFull { .. } | Refusal::Hopeless { .. } | Refusal::Deadline { .. } => {
            SampleEnd::Cancelled
        }
    }
}

/// A request that did not begin, with its hold if one was committed.
struct Refused {
    hold: Option<Hold>,
    failure: Failure,
}

impl Failure {
    /// What should not happen.
    pub(super) fn internal() -> Self {
        Self::early(Fault::internal())
    }

    /// Before any backend was reached.
    fn early(fault: Fault) -> Self {
        Self { fault, blame: None, backend: None, attempt: 0 }
    }
}
