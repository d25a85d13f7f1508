//! Requests through the table of paths to their doors. hyper, which reads and writes them, is not
//! ours and not counted; a stream's socket goes on in the sweep's cases.

use std::sync::Arc;

use axum::{Router, body::Body, extract::Request, response::Response};
use http::{StatusCode, Version, header};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::{Bed, count, data, message, topic};
use crate::{handover::Handover, routes};

const MANY: usize = 32;

/// `POST /v1/topics/…` up to the answer.
#[test]
#[ignore = "make guard counts it"]
fn publish() {
    let bed = Bed::new();
    let doors = routes::doors(bed.app.clone());
    let request = || {
        let request = from_browser("POST", "/v1/topics/chat/general");
        let request = request.header(header::CONTENT_TYPE, "application/json");
        request.body(Body::from(data())).expect("a good request")
    };
    knock(&bed, doors, request, StatusCode::CREATED);
}

/// `GET /v1/sse` of a client that comes back, up to where its connection leaves hyper.
#[test]
#[ignore = "make guard counts it"]
fn open_sse() {
    let bed = Bed::new();
    let topic = topic("chat/general");
    let _other = bed.reader(&topic);
    bed.publish(vec![message(&topic); 2]);
    let after = bed.app.hub.newest().to_string();
    bed.publish(vec![message(&topic); 100]);
    let doors = routes::doors(bed.app.clone());
    let request = || {
        let request = from_browser("GET", "/v1/sse?topic=chat/general");
        let request = request.header("last-event-id", &after);
        let mut request = request.body(Body::empty()).expect("a good request");
        request.extensions_mut().insert(Handover::new(Arc::default()));
        request
    };
    knock(&bed, doors, request, StatusCode::OK);
}

fn from_browser(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "rt.example.com")
        .header(header::ACCEPT, "*/*")
        .header(header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101")
        .header(header::ACCEPT_LANGUAGE, "en-GB,en;q=0.5")
        .header(header::ACCEPT_ENCODING, "gzip, deflate, br")
}

fn knock(bed: &Bed, doors: Router, request: impl Fn() -> Request, expected: StatusCode) {
    let doors = TowerToHyperService::new(doors);
    let requests = || std::iter::repeat_with(&request).take(MANY).collect::<Vec<_>>();
    count(MANY, requests, |requests| {
        bed.runtime.block_on(async {
            let mut answers = Vec::<(Response, _)>::with_capacity(MANY);
            for request in requests {
                let handover = request.extensions().get::<Arc<Handover>>().cloned();
                let Ok(answer) = doors.call(request).await;
                assert_eq!(answer.status(), expected);
                if let Some(handover) = &handover {
                    assert!(handover.complete(&answer, Version::HTTP_11));
                }
                answers.push((answer, handover));
            }
            answers
        })
    });
}
