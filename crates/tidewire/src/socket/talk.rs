//! What a WebSocket's words mean, and what is answered. The same whether a task or the sweep carries
//! them; neither reads nor writes a socket.

use bytes::{Bytes, BytesMut};
use tidewire_core::{Credential, Filter, Limits, Publisher, Session};
use tidewire_proto::{
    After, Code, Continuity, Message, Topic, WireError,
    frame::{self, CloseFrame, DecodeLimits, Decoder, Event, Role},
    json, ws,
    ws::{Command, Request, RequestError},
};

/// Most publishes of one socket that are on their way to the log; beyond it the socket is not read.
pub(crate) const PUBLISHES_MAX: usize = 64;
/// Beats without a word from the peer before it counts as gone.
pub(crate) const SILENT_BEATS_MAX: u8 = 3;
/// Room for a command's words around its data, on top of the largest message.
const COMMAND_BYTES: usize = 2 * 1024;

/// The `ref` of a command that has none.
const NAMELESS: &str = "null";

/// What a peer's event asks for.
pub(crate) enum Heard {
    /// Nothing.
    Nothing,
    /// These bytes come back.
    Answer(Bytes),
    /// A publish, to be answered when the log has it, in the order in which they were asked.
    Publish(String, Box<Message>),
    /// A command that needs the session.
    Ask(Ask),
    /// The peer closes.
    Close(Option<CloseFrame>),
}

/// A command that needs the session.
pub(crate) struct Ask {
    reference: String,
    command: Command,
}

/// A decoder for what a client says.
pub(crate) fn decoder(limits: &Limits) -> Decoder {
    // Binary data may come as base64 inside JSON.
    let message_bytes_max = limits.message_bytes_max / 3 * 4 + COMMAND_BYTES;
    let decode = DecodeLimits { message_bytes_max, fragments_max: limits.fragments_max };
    Decoder::new(Role::Server, decode)
}

/// The answer to a peer's close: its own code (RFC 6455 §5.5.1).
pub(crate) fn close_answer(close: Option<CloseFrame>) -> Bytes {
    const NO_STATUS: u16 = 1005;
    let mut out = BytesMut::new();
    frame::encode_close(&mut out, close.map_or(NO_STATUS, |close| close.code), "");
    out.freeze()
}

/// What an event asks for.
pub(crate) fn hear(event: Event) -> Heard {
    let asked = match event {
        // The codec gives text only when it is UTF-8.
        Event::Text(text) => ws::parse_text(std::str::from_utf8(&text).unwrap_or_default()),
        Event::Binary(bytes) => ws::parse_binary(&bytes),
        Event::Ping(payload) => {
            let mut out = BytesMut::new();
            frame::encode_pong(&mut out, &payload);
            return Heard::Answer(out.freeze());
        }
        Event::Pong(_) => return Heard::Nothing,
        Event::Close(close) => return Heard::Close(close),
    };
    match asked {
        Ok(Request { reference, command: Command::Publish(message) }) => {
            Heard::Publish(reference, message)
        }
        Ok(Request { reference, command: Command::Ping }) => {
            Heard::Answer(crate::wire::text(&ws::ok(&reference, "{}")))
        }
        Ok(Request { reference, command }) => Heard::Ask(Ask { reference, command }),
        Err(RequestError { reference, error }) => {
            Heard::Answer(crate::wire::text(&ws::error(&reference, &error)))
        }
    }
}

/// Publishes, and gives the answer: none to who gave the command no name and need hear only of errors.
pub(crate) async fn publish(
    publisher: Publisher,
    reference: String,
    message: Box<Message>,
) -> String {
    match publisher.publish(*message).await {
        Ok(_) if reference == NAMELESS => String::new(),
        Ok(published) => {
            let mut body = String::new();
            json::push_published(&mut body, published.id, published.stored, published.duplicate);
            ws::ok(&reference, &body)
        }
        Err(error) => ws::error(&reference, &error),
    }
}

/// Obeys a command. Gives the answer, and the error if the socket ends after it.
pub(crate) async fn obey(
    session: &mut Session,
    limits: &Limits,
    ask: Ask,
) -> (String, Option<WireError>) {
    let Ask { reference, command } = ask;
    let done = match command {
        Command::Subscribe { topic, after } => subscribe(session, limits, topic, after).await,
        Command::Unsubscribe { topic } => unsubscribe(session, &topic),
        Command::Members { topic } => {
            let members = session.publisher().members(&topic).await;
            members.map(|members| members.to_json(&topic))
        }
        Command::Announce(said) => session.announce(&said).await.map(|done| done.to_json()),
        Command::Token { token } => {
            // One that is not good changes nothing. One that is good, but another subject's or
            // without the rights to what is being read, ends the socket: access ends when it ends,
            // and not only when the old token would have.
            let renewed = session.renew(Credential::Bearer(&token)).await;
            if let Err(error) = &renewed
                && error.code == Code::Forbidden
            {
                return (ws::error(&reference, error), Some(error.clone()));
            }
            renewed.map(|()| "{}".to_owned())
        }
        // Taken out before: they are answered otherwise.
        Command::Publish(_) | Command::Ping => {
            Err(WireError::new(Code::Internal, "a command came twice"))
        }
    };
    let answer = match done {
        Ok(body) => ws::ok(&reference, &body),
        Err(error) => ws::error(&reference, &error),
    };
    (answer, None)
}

fn unsubscribe(session: &mut Session, topic: &Topic) -> Result<String, WireError> {
    if session.unsubscribe(&Filter::from(topic.clone())) {
        return Ok(format!("{{\"topic\":\"{topic}\"}}"));
    }
    let message = format!("there is no subscription to `{topic}` on this socket");
    Err(WireError::new(Code::NotSubscribed, message))
}

async fn subscribe(
    session: &mut Session,
    limits: &Limits,
    topic: Topic,
    after: Option<After>,
) -> Result<String, WireError> {
    let most = limits.subscriptions_per_socket_max;
    if session.subscriptions().len() >= most {
        let message = format!("one socket has at most {most} subscriptions");
        return Err(WireError::new(Code::TooManyTopics, message));
    }
    let filter = Filter::from(topic.clone());
    let after = after.unwrap_or_else(|| session.fresh(&filter));
    let begun = session.subscribe(&filter, after).await?;
    let begun = begun.first();
    let continuity = begun.map_or(Continuity::New, |begun| begun.continuity);
    Ok(ws::subscribed(&topic, &continuity, begun.and_then(|begun| begun.at)))
}
