//! Boards, tasks and comments.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::{
    answer::{asked, body, created, done, key_of, number, ok, once},
    session::signed_in,
};
use crate::{
    failure::Failure,
    model::Board,
    store::{BOARDS, Rows},
    tasks::{self, Edit, Move, NewTask},
    workboard::Running,
};

#[derive(Deserialize)]
pub(super) struct NewComment {
    text: String,
}

pub(super) async fn boards(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    signed_in(&running, &headers).await?;
    let boards: Vec<Board> = running.store.read(|rows| rows.rows(BOARDS)).await?;
    Ok(ok(&json!({ "boards": boards })))
}

/// A board, and the place in the log from which a page goes on without missing anything. It is taken
/// before the tasks are read: an event up to there was committed before, and is in them.
pub(super) async fn board(
    State(running): State<Arc<Running>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    signed_in(&running, &headers).await?;
    let cursor = running.tidewire.hub().newest().to_string();
    let look = move |rows: &redb::ReadTransaction| {
        Ok((tasks::board(rows, &id)?, tasks::tasks_of(rows, &id)?))
    };
    let (board, tasks) = running.store.read(look).await?;
    Ok(ok(&json!({"board": board, "tasks": tasks, "cursor": cursor})))
}

pub(super) async fn task(
    State(running): State<Arc<Running>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    signed_in(&running, &headers).await?;
    let id = number(&id)?;
    let look = move |rows: &redb::ReadTransaction| {
        Ok((tasks::task(rows, id)?, tasks::comments_on(rows, id)?))
    };
    let (task, comments) = running.store.read(look).await?;
    Ok(ok(&json!({"task": task, "comments": comments})))
}

pub(super) async fn create(
    State(running): State<Arc<Running>>,
    Path(board): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    let by = signed_in(&running, &headers).await?;
    let (key, new): (_, NewTask) = (key_of(&headers, &by)?, body(&headers, &bytes)?);
    let change = move |change: &crate::store::Change| {
        let make = || Ok(serde_json::to_value(tasks::create(change, &by, &board, new)?)?);
        once(change, key.as_deref(), make)
    };
    let (task, _) = running.store.write(change).await?;
    Ok(created(&task))
}

pub(super) async fn edit(
    State(running): State<Arc<Running>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    let by = signed_in(&running, &headers).await?;
    let id = number(&id)?;
    let edit: Edit = body(&headers, &bytes)?;
    let task = running.store.write(move |change| tasks::edit(change, &by, id, edit)).await?;
    Ok(ok(&task))
}

pub(super) async fn relocate(
    State(running): State<Arc<Running>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    let by = signed_in(&running, &headers).await?;
    let id = number(&id)?;
    let to: Move = body(&headers, &bytes)?;
    let task = running.store.write(move |change| tasks::relocate(change, &by, id, &to)).await?;
    Ok(ok(&task))
}

pub(super) async fn delete(
    State(running): State<Arc<Running>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let by = signed_in(&running, &headers).await?;
    let missing = || Failure::Bad("say which version is meant: `?version=3`".into());
    let version = asked(query.as_deref(), "version").ok_or_else(missing)?;
    let (id, version) = (number(&id)?, number(&version)?);
    running.store.write(move |change| tasks::delete(change, &by, id, version)).await?;
    Ok(done())
}

pub(super) async fn comment(
    State(running): State<Arc<Running>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    let by = signed_in(&running, &headers).await?;
    let id = number(&id)?;
    let (key, NewComment { text }) = (key_of(&headers, &by)?, body(&headers, &bytes)?);
    let change = move |change: &crate::store::Change| {
        let make = || Ok(serde_json::to_value(tasks::comment(change, &by, id, &text)?)?);
        once(change, key.as_deref(), make)
    };
    let (comment, _) = running.store.write(change).await?;
    Ok(created(&comment))
}
