//! The assistant: a question is answered at once with a conversation, and in its topic with words.

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
    answer::{asked, body, created, key_of, ok, once},
    session::signed_in,
};
use crate::{
    answering,
    failure::Failure,
    model::Conversation,
    store::{CONVERSATIONS, Rows},
    workboard::Running,
};

/// Conversations in one answer.
const SHOWN_MAX: usize = 20;

#[derive(Deserialize)]
pub(super) struct Question {
    question: String,
}

pub(super) async fn ask(
    State(running): State<Arc<Running>>,
    Path(board): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    let by = signed_in(&running, &headers).await?;
    let (key, Question { question }) = (key_of(&headers, &by)?, body(&headers, &bytes)?);
    let place = running.answering_place()?;
    let change = move |change: &crate::store::Change| {
        let make = || Ok(serde_json::to_value(answering::ask(change, &by, &board, &question)?)?);
        once(change, key.as_deref(), make)
    };
    let (made, is_new) = running.store.write(change).await?;
    if is_new {
        let conversation: Conversation = serde_json::from_value(made.clone())?;
        let answer = answering::think(&running.store, conversation).await?;
        running.say(answer, place);
    }
    Ok(created(&made))
}

pub(super) async fn conversations(
    State(running): State<Arc<Running>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let person = signed_in(&running, &headers).await?;
    let board = asked(query.as_deref(), "board");
    let mut found: Vec<Conversation> = running.store.read(|rows| rows.rows(CONVERSATIONS)).await?;
    found.retain(|row| row.person == person.id && board.as_ref().is_none_or(|b| *b == row.board));
    let found = found.split_off(found.len().saturating_sub(SHOWN_MAX));
    Ok(ok(&json!({ "conversations": found })))
}

pub(super) async fn conversation(
    State(running): State<Arc<Running>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    signed_in(&running, &headers).await?;
    let row = answering::row_of(&id)?;
    let found = running.store.read(move |rows| rows.row::<Conversation>(CONVERSATIONS, &row));
    let missing = || Failure::NotFound(format!("there is no conversation {id:?}"));
    Ok(ok(&found.await?.ok_or_else(missing)?))
}
