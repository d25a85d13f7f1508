//! The door for pages: `GET {prefix}/events?topic=…&after=CURSOR[&limit=][&wait=]`, and from the back
//! `GET {prefix}/events?topic=…&last=N[&before=CURSOR]`.
//!
//! Without `wait`, a page of history. With it, the long-poll rung: the answer waits until there is
//! something to tell. Both are the same read; waiting only decides when.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use tidewire_core::{HistoryPage, Session};
use tidewire_proto::{After, Continuity, WireError, json, plan::Transport};
use tokio::time::{Instant, timeout_at};

use crate::{
    answer::{Refused, json_response},
    app::{App, left},
    manifest::Plan,
    query::Query,
};

/// The handler.
pub(crate) async fn events(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let query = Query::parse(query.as_deref(), &headers, app.hub.limits())?;
    let told = app.plan().number;
    let peer = app.admit(&headers, query.ticket.as_deref()).await?;
    let mut session = app.hub.session(Arc::clone(&app.gate), peer);
    if let Some(last) = query.last {
        let page = session.history_back(&query.filter, query.before, last).await?;
        return Ok(json_response(StatusCode::OK, body(&page, &app.plan().tag, true)));
    }
    // Who waits wants what comes; who does not wants what was.
    let fresh = if query.wait.is_some() { app.hub.fresh(&query.filter) } else { After::Start };
    let after = query.after.unwrap_or(fresh);
    let mut page = session.history(&query.filter, after, query.limit).await?;
    if let Some(wait) = query.wait.filter(|_| is_quiet(&page)) {
        let _guard = app.stream_guard(Transport::Poll);
        let deadline = Instant::now() + wait;
        if has_news(&app, &mut session, &query, page.cursor, (deadline, told)).await? {
            let first = page.continuity;
            page = session.history(&query.filter, After::Cursor(page.cursor), query.limit).await?;
            if page.continuity == Continuity::Resumed {
                // The reader asked from an earlier place, and this is what was said of that one.
                page.continuity = first;
            }
        } else if app.is_taken_back(session.peer()) {
            return Err(app.why_ended(session.peer()).into());
        }
    }
    Ok(json_response(StatusCode::OK, body(&page, &app.plan().tag, false)))
}

fn is_quiet(page: &HistoryPage) -> bool {
    page.entries.is_empty() && !matches!(page.continuity, Continuity::Gap(_))
}

/// Waits until the topics have something new; false when the time is over, and when the plan is
/// another than it was.
async fn has_news(
    app: &App,
    session: &mut Session,
    query: &Query,
    place: tidewire_proto::Cursor,
    (deadline, plan_before): (Instant, u32),
) -> Result<bool, WireError> {
    session.subscribe(&query.filter, After::Cursor(place)).await?;
    let (mut leaving, mut plan) = (app.leaving.subscribe(), app.plan.subscribe());
    let peer = Arc::clone(session.peer());
    let is_news = |plan: &Arc<Plan>| {
        plan.number != plan_before || app.access_left(&peer) == Some(Duration::ZERO)
    };
    let told = async {
        loop {
            match session.next().await {
                Ok(news) if news.entries.is_empty() && news.gap.is_none() => {}
                // An error is told by the read that follows.
                Ok(_) | Err(_) => return true,
            }
        }
    };
    tokio::select! {
        told = timeout_at(deadline, told) => Ok(told.unwrap_or(false)),
        () = left(&mut leaving) => Ok(false),
        // The sender is the app's, so this does not fail.
        _ = plan.wait_for(is_news) => Ok(false),
    }
}

fn body(page: &HistoryPage, plan: &str, is_back: bool) -> String {
    let mut out = String::from("{\"entries\":[");
    for (index, framed) in page.entries.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        json::push_entry(&mut out, framed.entry(), framed.id());
    }
    out.push_str(&format!("],\"cursor\":\"{}\",\"more\":{},", page.cursor, page.more));
    if is_back {
        out.push_str(&format!("\"earlier\":{},", page.earlier));
    }
    out.push_str(&format!("\"plan\":\"{plan}\","));
    json::push_continuity(&mut out, &page.continuity);
    out.push('}');
    out
}
