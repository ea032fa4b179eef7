//! What every change carries, filled in.

use relay_proto::admin::v1::Change;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::Problem;
use super::args::ChangeArgs;
use super::link::Link;

/// Changes an object: reads its version, asks for the change, and tries once more with a newer
/// version where the caller named none and somebody else was faster.
pub(super) async fn update<T>(
    link: &Link,
    args: &ChangeArgs,
    read_version: impl AsyncFn() -> Result<u64, Status>,
    act: impl AsyncFn(Change) -> Result<Response<T>, Status>,
) -> Result<T, Problem> {
    link.may_change()?;
    let request_id = args.request_id.unwrap_or_else(Uuid::new_v4);
    let mut retry = args.expected_version.is_none();
    loop {
        let expected_version = match args.expected_version {
            Some(version) => version,
            None => read_version().await.map_err(|status| link.problem(&status))?,
        };
        match act(change(request_id, expected_version, &args.reason)).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if status.code() == Code::Aborted && retry => retry = false,
            Err(status) => return Err(link.problem(&status)),
        }
    }
}

/// Makes something new: there is no version to expect.
pub(super) async fn create<T>(
    link: &Link,
    args: &ChangeArgs,
    act: impl AsyncFnOnce(Change) -> Result<Response<T>, Status>,
) -> Result<T, Problem> {
    link.may_change()?;
    let request_id = args.request_id.unwrap_or_else(Uuid::new_v4);
    let version = args.expected_version.unwrap_or(0);
    match act(change(request_id, version, &args.reason)).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(link.problem(&status)),
    }
}

fn change(request_id: Uuid, expected_version: u64, reason: &str) -> Change {
    Change { request_id: request_id.to_string(), expected_version, reason: reason.to_owned() }
}
