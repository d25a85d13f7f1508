//! Other settings for a server that runs: all or nothing; everybody hears of a new plan, once, and
//! nobody loses an entry by it.

mod keys;
mod told;

use serde_json::Value;
use tidewire::{Features, Settings, tidewire_proto::plan::Transport};

use crate::support::{Server, http};

/// The features of these settings, with another transport for `chat`.
fn moved(settings: &mut Settings, transport: Transport) {
    let mut declared: std::collections::BTreeMap<_, _> = settings
        .features
        .iter()
        .map(|(name, feature)| (name.to_owned(), feature.clone()))
        .collect();
    declared.get_mut("chat").expect("dev has it").transport = Some(transport);
    let undeclared = settings.features.undeclared().cloned();
    settings.features = Features::declared(declared);
    if let Some(undeclared) = undeclared {
        settings.features = std::mem::take(&mut settings.features).with_undeclared(undeclared);
    }
}

/// The plan as anybody hears it.
async fn plan(server: &Server) -> Value {
    let response = http().get(server.at("/plan")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

async fn tag(server: &Server) -> String {
    plan(server).await["tag"].as_str().unwrap().to_owned()
}
