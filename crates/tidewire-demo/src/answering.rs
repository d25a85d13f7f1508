//! An answer of the assistant, on its way: piece by piece into a topic, at the pace of a reader, until
//! it ends, fails, or somebody cancels it.
//!
//! It publishes as any producer of tokens does, and hears `cancel` by subscribing to its own topic. A
//! conversation that a restart has interrupted is ended with `fail` at the next start.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidewire::{After, Data, EventType, Filter, Hub, Key, Message, OpenGate, Peer, Session, Topic};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    assistant,
    day::Day,
    failure::Failure,
    model::{Conversation, Person, QUESTION_MAX, State, checked},
    store::{CONVERSATIONS, Change, Event, PEOPLE, Rows, Store, key},
    tasks,
};

/// What was asked, and what is to be said.
pub(crate) struct Answer {
    pub(crate) conversation: Conversation,
    text: String,
}

/// Stores a question and thinks of the answer.
pub(crate) fn ask(
    change: &Change,
    by: &Person,
    board: &str,
    question: &str,
) -> Result<Conversation, Failure> {
    tasks::board(change, board)?;
    let question = checked("a question", question, QUESTION_MAX)?;
    let number = change.next("conversation")?;
    let id = format!("a{number}");
    let conversation = Conversation {
        topic: format!("answers/{id}"),
        id,
        board: board.to_owned(),
        person: by.id.clone(),
        question,
        state: State::Writing,
        text: String::new(),
        at: change.now_ms,
    };
    change.put(CONVERSATIONS, &key(number), &conversation)?;
    Ok(conversation)
}

/// Thinks of the answer to a question that was stored.
pub(crate) async fn think(store: &Store, conversation: Conversation) -> Result<Answer, Failure> {
    let today = Day::of(store.now_ms());
    store
        .read(move |rows| {
            let board = tasks::board(rows, &conversation.board)?;
            let tasks = tasks::tasks_of(rows, &board.id)?;
            let people: Vec<Person> = rows.rows(PEOPLE)?;
            let facts = assistant::Facts { today, board: &board, tasks: &tasks, people: &people };
            let text = assistant::answer(&conversation.question, &facts);
            Ok(Answer { conversation, text })
        })
        .await
}

/// The row of a conversation, by the name that the pages know.
pub(crate) fn row_of(id: &str) -> Result<String, Failure> {
    let missing = || Failure::NotFound(format!("there is no conversation {id:?}"));
    let number = id.strip_prefix('a').and_then(|number| number.parse().ok());
    number.map(key).ok_or_else(missing)
}

/// Says an answer, a piece for each tick, and stores how it ended.
pub(crate) async fn say(store: Store, hub: Hub, answer: Answer, pace: Duration) {
    let Answer { conversation, text } = answer;
    let (ended, said) = match stream(&hub, &conversation, &text, pace).await {
        Ok(ended) => ended,
        Err(why) => (Ended::Fail(why), String::new()),
    };
    let id = conversation.id.clone();
    let stored = store.write(move |change| end(change, conversation, &ended, said)).await;
    if let Err(error) = stored {
        tracing::warn!(%error, id, "how an answer ended could not be stored");
    }
}

/// How it ended.
enum Ended {
    End,
    // Whoever cancelled has published that already.
    Cancel,
    Fail(String),
}

async fn stream(
    hub: &Hub,
    conversation: &Conversation,
    text: &str,
    pace: Duration,
) -> Result<(Ended, String), String> {
    let topic = Topic::parse(&conversation.topic).map_err(|error| error.to_string())?;
    let event = EventType::parse("text").map_err(|error| error.to_string())?;
    let mut session = hub.session(Arc::new(OpenGate), Arc::new(Peer::anybody()));
    let filter = Filter::from(topic.clone());
    // From the start: a hasty reader may have cancelled already.
    session.subscribe(&filter, After::Start).await.map_err(|error| error.to_string())?;
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    for (number, piece) in assistant::pieces(text).enumerate() {
        tokio::select! {
            _ = ticks.tick() => {}
            cancelled = cancelled(&mut session) => return cancelled.map(|()| (Ended::Cancel, said)),
        }
        let key = Key::parse(&format!("{}.{number}", conversation.id)).ok();
        let data = Data::text(piece.to_owned()).map_err(|error| error.to_string())?;
        let (topic, event) = (topic.clone(), event.clone());
        let message = Message { topic, event, data, key, item: None };
        hub.publish(message).await.map_err(|error| error.to_string())?;
        said += piece;
    }
    Ok((Ended::End, said))
}

/// Waits until somebody cancels. Cancel-safe, as the session is.
async fn cancelled(session: &mut Session) -> Result<(), String> {
    loop {
        let news = session.next().await.map_err(|error| error.to_string())?;
        if news.entries.iter().any(|framed| framed.entry().event.as_str() == "cancel") {
            return Ok(());
        }
    }
}

fn end(
    change: &Change,
    mut conversation: Conversation,
    ended: &Ended,
    said: String,
) -> Result<(), Failure> {
    let topic = conversation.topic.clone();
    let event = |event: &str, data: Value| Event {
        topic: topic.clone(),
        event: event.to_owned(),
        item: None,
        data,
    };
    let last = match ended {
        Ended::End => Some(event("end", json!({}))),
        Ended::Cancel => None,
        Ended::Fail(why) => Some(event("fail", json!({ "message": why }))),
    };
    conversation.state = match ended {
        Ended::End => State::End,
        Ended::Cancel => State::Cancel,
        Ended::Fail(_) => State::Fail,
    };
    conversation.text = said;
    change.put(CONVERSATIONS, &row_of(&conversation.id)?, &conversation)?;
    last.map_or(Ok(()), |last| change.emit(&last))
}

/// Ends what an earlier life of the server has left unfinished. Nobody will go on with it.
pub(crate) fn fail_unfinished(change: &Change) -> Result<(), Failure> {
    let unfinished = change.rows::<Conversation>(CONVERSATIONS)?;
    for conversation in unfinished.into_iter().filter(|row| row.state == State::Writing) {
        let why = "the server was restarted while it answered: ask again".to_owned();
        end(change, conversation, &Ended::Fail(why), String::new())?;
    }
    Ok(())
}
