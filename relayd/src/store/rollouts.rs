//! Rollouts, their history, and what each replica saw of them.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::Store;
use super::error::StoreError;
use super::page::{Page, Paged};
use super::revisions::{number, put_live};
use super::row::Columns;
use super::write::{Counter, bump, expect_version, json};
use crate::domain::{BootId, ModelName, RolloutId, RolloutPlan, RolloutState};

/// Most notes of one rollout's history that are read, the newest.
pub const ROLLOUT_NOTES_MAX: i64 = 100;

const COLUMNS: &str = "id, model, from_number, to_number, state, reason, state_since_ms, plan,
    step, step_since_ms, round, baseline, gates, created_by, created_ms, version";

/// Which requests a sample tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Those of the revision that served before.
    Live,
    /// Those of the new one.
    Next,
    /// Copies for the new one, whose answers nobody sees.
    Shadow,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutRow {
    /// Its id.
    pub id: RolloutId,
    /// Of which model.
    pub model: ModelName,
    /// The revision that served before.
    pub from: u32,
    /// The new one.
    pub to: u32,
    /// Where it is.
    pub state: RolloutState,
    /// Why, in the words of who or what brought it there.
    pub reason: String,
    /// Since when, milliseconds since the epoch.
    pub state_since_ms: i64,
    /// How it goes.
    pub plan: RolloutPlan,
    /// Which step, from 0.
    pub step: u32,
    /// Since when.
    pub step_since_ms: i64,
    /// Counts the beginnings of steps: what its samples are kept under.
    pub round: u32,
    /// The round whose samples of the old revision the last step is compared with.
    pub baseline: u32,
    /// What the gates said last: JSON of the rollouts' room.
    pub gates: String,
    /// Who began it.
    pub created_by: String,
    /// When.
    pub created_ms: i64,
    /// Counts the changes, from 1.
    pub version: u64,
}

/// A rollout that begins: running, at its first step.
#[derive(Clone, Debug)]
pub struct NewRollout {
    /// Its id.
    pub id: RolloutId,
    /// Of which model.
    pub model: ModelName,
    /// The revision that is live.
    pub from: u32,
    /// The new one.
    pub to: u32,
    /// How it goes.
    pub plan: RolloutPlan,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who begins it.
    pub actor: String,
    /// Now, milliseconds since the epoch.
    pub at_ms: i64,
}

/// One change of a rollout, with its note.
#[derive(Clone, Debug)]
pub struct RolloutEdit {
    /// The new state; completed makes the new revision live.
    pub to: RolloutState,
    /// The new step.
    pub step: u32,
    /// Whether that step begins now, so that only what comes is judged.
    pub begins: bool,
    /// What the gates said, as JSON.
    pub gates: String,
    /// Who or what changes it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Now, milliseconds since the epoch.
    pub at_ms: i64,
}

/// One line of a rollout's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutNoteRow {
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// Who or what.
    pub actor: String,
    /// The state from then on.
    pub state: RolloutState,
    /// The step from then on.
    pub step: u32,
    /// The new revision's share from then on, in thousandths.
    pub share_permille: u16,
    /// Why.
    pub reason: String,
}

/// What one replica saw of one side in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRow {
    /// Of which rollout.
    pub rollout: RolloutId,
    /// In which round.
    pub round: u32,
    /// Of which side.
    pub side: Side,
    /// By which start of relayd.
    pub boot: BootId,
    /// What: JSON of the rollouts' room.
    pub sums: String,
}

impl Side {
    const ALL: [Self; 3] = [Self::Live, Self::Next, Self::Shadow];

    /// The word, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Next => "next",
            Self::Shadow => "shadow",
        }
    }
}

impl std::str::FromStr for Side {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|side| side.as_str() == text);
        found.ok_or_else(|| format!("unknown side '{text}'"))
    }
}

impl Store {
    /// The open rollouts and the newest one of each other model, by model.
    ///
    /// # Errors
    /// As every read.
    pub async fn current_rollouts(&self) -> Result<Vec<RolloutRow>, StoreError> {
        let text = format!(
            "select {COLUMNS} from rollout r where state in ('running', 'paused') or (
                not exists (select 1 as one from rollout open where open.model = r.model
                    and open.state in ('running', 'paused'))
                and not exists (select 1 as one from rollout newer where newer.model = r.model
                    and (newer.created_ms, newer.id) > (r.created_ms, r.id)))
             order by model limit $1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(super::REVISIONS_MAX);
        query.fetch_all(self.reader()).await?.iter().map(read).collect()
    }

    /// One rollout.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and as every read.
    pub async fn rollout(&self, id: &RolloutId) -> Result<RolloutRow, StoreError> {
        let text = format!("select {COLUMNS} from rollout where id = $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id.as_str());
        let row = query.fetch_optional(self.reader()).await?;
        row.as_ref().map(read).ok_or(StoreError::NotFound("rollout"))?
    }

    /// A page of rollouts, newest first, of one model or of all.
    ///
    /// # Errors
    /// `NotFound("cursor")` for a cursor that no page gave out, and as every read.
    pub async fn rollouts(
        &self,
        model: Option<&ModelName>,
        page: &Page,
    ) -> Result<Paged<RolloutRow>, StoreError> {
        self.check_cursor("select 1 as one from rollout where id = $1", page).await?;
        let text = format!(
            "select {COLUMNS} from rollout where ($1 = '' or model = $1) and ($2 = ''
                or (created_ms, id) < (select created_ms, id from rollout where id = $2))
             order by created_ms desc, id desc limit $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(model.map_or("", |model| model.as_str()))
            .bind(page.after())
            .bind(page.fetch())
            .fetch_all(self.reader())
            .await?;
        page.cut(&rows, read, |rollout| rollout.id.to_string())
    }

    /// A rollout's history, oldest first, at most the newest [`ROLLOUT_NOTES_MAX`].
    ///
    /// # Errors
    /// As every read.
    pub async fn rollout_notes(&self, id: &RolloutId) -> Result<Vec<RolloutNoteRow>, StoreError> {
        let rows = sqlx::query(
            "select at_ms, actor, state, step, share_permille, reason from rollout_note
             where rollout_id = $1 order by seq desc limit $2",
        )
        .bind(id.as_str())
        .bind(ROLLOUT_NOTES_MAX)
        .fetch_all(self.reader())
        .await?;
        rows.iter().rev().map(read_note).collect()
    }

    /// What all replicas saw of a round.
    ///
    /// # Errors
    /// As every read.
    pub async fn rollout_samples(
        &self,
        id: &RolloutId,
        round: u32,
    ) -> Result<Vec<SampleRow>, StoreError> {
        let rows = sqlx::query(
            "select rollout_id, round, side, boot, sums from rollout_sample
             where rollout_id = $1 and round = $2 order by side, boot",
        )
        .bind(id.as_str())
        .bind(i64::from(round))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read_sample).collect()
    }

    /// Writes what this replica saw, in place of what it wrote before.
    ///
    /// # Errors
    /// As every write.
    pub async fn put_rollout_samples(&self, samples: Vec<SampleRow>) -> Result<(), StoreError> {
        self.quiet_write(move |conn| {
            Box::pin(async move {
                for sample in &samples {
                    put_sample(conn, sample).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

fn read(row: &AnyRow) -> Result<RolloutRow, StoreError> {
    Ok(RolloutRow {
        id: row.parse("id")?,
        model: row.parse("model")?,
        from: number(row, "from_number")?,
        to: number(row, "to_number")?,
        state: row.parse("state")?,
        reason: row.text("reason")?,
        state_since_ms: row.int("state_since_ms")?,
        plan: row.json("plan")?,
        step: number(row, "step")?,
        step_since_ms: row.int("step_since_ms")?,
        round: number(row, "round")?,
        baseline: number(row, "baseline")?,
        gates: row.text("gates")?,
        created_by: row.text("created_by")?,
        created_ms: row.int("created_ms")?,
        version: row.count("version")?,
    })
}

fn read_note(row: &AnyRow) -> Result<RolloutNoteRow, StoreError> {
    Ok(RolloutNoteRow {
        at_ms: row.int("at_ms")?,
        actor: row.text("actor")?,
        state: row.parse("state")?,
        step: number(row, "step")?,
        share_permille: u16::try_from(row.int("share_permille")?)
            .map_err(|_| StoreError::corrupt("share_permille"))?,
        reason: row.text("reason")?,
    })
}

fn read_sample(row: &AnyRow) -> Result<SampleRow, StoreError> {
    Ok(SampleRow {
        rollout: row.parse("rollout_id")?,
        round: number(row, "round")?,
        side: row.parse("side")?,
        boot: row.parse("boot")?,
        sums: row.text("sums")?,
    })
}

pub(super) async fn insert(
    conn: &mut AnyConnection,
    new: &NewRollout,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    bump(conn, Counter::Rollouts).await?;
    // What was seen of earlier ones is judged no more.
    sqlx::query(
        "delete from rollout_sample where rollout_id in (select id from rollout where model = $1)",
    )
    .bind(new.model.as_str())
    .execute(&mut *conn)
    .await?;
    let live = sqlx::query("select number, version from live_revision where model = $1")
        .bind(new.model.as_str())
        .fetch_optional(&mut *conn)
        .await?;
    let live = live.ok_or(StoreError::Precondition("the model has no revision"))?;
    let found = live.count("version")?;
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(StoreError::Version { noun: "live revision", expected, found });
    }
    if number(&live, "number")? != new.from {
        return Err(StoreError::Precondition("another revision is live"));
    }
    sqlx::query(
        "insert into rollout (id, model, from_number, to_number, state, reason, state_since_ms,
            plan, step, step_since_ms, round, baseline, gates, created_by, created_ms, version)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 0, $7, 1, 1, '[]', $9, $7, 1)",
    )
    .bind(new.id.as_str())
    .bind(new.model.as_str())
    .bind(i64::from(new.from))
    .bind(i64::from(new.to))
    .bind(RolloutState::Running.as_str())
    .bind(&new.reason)
    .bind(new.at_ms)
    .bind(json(&new.plan))
    .bind(&new.actor)
    .execute(&mut *conn)
    .await?;
    let note = RolloutNoteRow {
        at_ms: new.at_ms,
        actor: new.actor.clone(),
        state: RolloutState::Running,
        step: 0,
        share_permille: new.plan.share_permille(0),
        reason: new.reason.clone(),
    };
    insert_note(conn, &new.id, 1, &note).await
}

pub(super) async fn edit(
    conn: &mut AnyConnection,
    id: &RolloutId,
    expected: Option<u64>,
    edit: &RolloutEdit,
) -> Result<(), StoreError> {
    bump(conn, Counter::Rollouts).await?;
    let text =
        format!("update rollout set version = version + 1 where id = $1 returning {COLUMNS}");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(text)).bind(id.as_str()).fetch_optional(&mut *conn).await?;
    expect_version("rollout", row.as_ref(), expected)?;
    let now = row.as_ref().map(read).ok_or(StoreError::NotFound("rollout"))??;
    if !now.state.may_become(edit.to) {
        return Err(StoreError::Precondition("the rollout's state does not allow it"));
    }
    let entered = edit.begins && edit.step != now.step;
    let round = if edit.begins { now.round + 1 } else { now.round };
    let baseline = if entered { now.round } else { now.baseline };
    let since = |changed: bool, before: i64| if changed { edit.at_ms } else { before };
    sqlx::query(
        "update rollout set state = $2, reason = $3, state_since_ms = $4, step = $5,
            step_since_ms = $6, round = $7, baseline = $8, gates = $9 where id = $1",
    )
    .bind(id.as_str())
    .bind(edit.to.as_str())
    .bind(&edit.reason)
    .bind(since(edit.to != now.state, now.state_since_ms))
    .bind(i64::from(edit.step))
    .bind(since(edit.begins, now.step_since_ms))
    .bind(i64::from(round))
    .bind(i64::from(baseline))
    .bind(&edit.gates)
    .execute(&mut *conn)
    .await?;
    if edit.to == RolloutState::Completed {
        put_live(&mut *conn, &now.model, now.to, None).await?;
    }
    let share_permille = match edit.to {
        RolloutState::Running | RolloutState::Paused => now.plan.share_permille(edit.step),
        RolloutState::Completed => crate::domain::ALL_PERMILLE,
        RolloutState::RolledBack => 0,
    };
    let note = RolloutNoteRow {
        at_ms: edit.at_ms,
        actor: edit.actor.clone(),
        state: edit.to,
        step: edit.step,
        share_permille,
        reason: edit.reason.clone(),
    };
    insert_note(conn, id, now.version, &note).await
}

/// Writes a line of history; versions number them.
async fn insert_note(
    conn: &mut AnyConnection,
    id: &RolloutId,
    seq: u64,
    note: &RolloutNoteRow,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into rollout_note (rollout_id, seq, at_ms, actor, state, step, share_permille,
            reason)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id.as_str())
    .bind(i64::try_from(seq).unwrap_or(i64::MAX))
    .bind(note.at_ms)
    .bind(&note.actor)
    .bind(note.state.as_str())
    .bind(i64::from(note.step))
    .bind(i64::from(note.share_permille))
    .bind(&note.reason)
    .execute(conn)
    .await?;
    Ok(())
}

async fn put_sample(conn: &mut AnyConnection, sample: &SampleRow) -> Result<(), StoreError> {
    sqlx::query(
        "insert into rollout_sample (rollout_id, round, side, boot, sums)
         values ($1, $2, $3, $4, $5)
         on conflict (rollout_id, round, side, boot) do update set sums = excluded.sums",
    )
    .bind(sample.rollout.as_str())
    .bind(i64::from(sample.round))
    .bind(sample.side.as_str())
    .bind(sample.boot.to_string())
    .bind(&sample.sums)
    .execute(conn)
    .await?;
    Ok(())
}
