//! The features that Workboard needs, with their answers to the three questions. Pure.
//!
//! Invariant: what a config declares stays as it says.

use std::{collections::BTreeMap, time::Duration};

use tidewire::{Feature, Features, Keep, Settings, plan::Answers, tidewire_core::feature::History};

/// The settings, with those of Workboard's features that they do not declare.
pub(crate) fn added(mut settings: Settings) -> Settings {
    let mut features = declared(&settings.features);
    for (name, feature) in wanted() {
        features.entry(name.to_owned()).or_insert(feature);
    }
    settings.features = with_undeclared(features, &settings.features);
    settings
}

/// The features that are declared, by name.
pub(crate) fn declared(features: &Features) -> BTreeMap<String, Feature> {
    features.iter().map(|(name, feature)| (name.to_owned(), feature.clone())).collect()
}

/// A table of these, that lets in what the other lets in.
pub(crate) fn with_undeclared(declared: BTreeMap<String, Feature>, other: &Features) -> Features {
    let features = Features::declared(declared);
    match other.undeclared() {
        Some(undeclared) => features.with_undeclared(undeclared.clone()),
        None => features,
    }
}

/// The chat: people write in it, so its clients send.
pub(crate) fn chat() -> Feature {
    let age = Some(Duration::from_secs(30 * 24 * 3_600));
    Feature { history: History::Kept { age, bytes: None }, presence: true, ..sending(false) }
}

fn sending(binary: bool) -> Feature {
    let answers = Answers { client_sends: true, binary, ..Answers::default() };
    Feature { answers, ..Feature::default() }
}

fn wanted() -> [(&'static str, Feature); 7] {
    let forever = History::Kept { age: None, bytes: None };
    let keeping = |keep| Feature { keep, ..Feature::default() };
    [
        ("notifications", Feature::default()),
        ("board", Feature::default()),
        ("chat", chat()),
        ("pointers", Feature { history: History::None, ..sending(false) }),
        (
            "docs",
            Feature { keep: Keep::Document, history: forever, presence: true, ..sending(true) },
        ),
        ("answers", keeping(Keep::Text)),
        ("stats", Feature { history: forever, ..keeping(Keep::Latest) }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire::plan::Transport;

    #[test]
    fn each_feature_travels_as_it_should() {
        let transports: Vec<_> = wanted()
            .into_iter()
            .map(|(name, feature)| (name, feature.decision().transport))
            .collect();
        assert_eq!(
            transports,
            [
                ("notifications", Transport::Sse),
                ("board", Transport::Sse),
                ("chat", Transport::Ws),
                ("pointers", Transport::Ws),
                ("docs", Transport::Ws),
                ("answers", Transport::Sse),
                ("stats", Transport::Sse),
            ]
        );
    }

    #[test]
    fn what_a_config_declares_stays() {
        let mut settings = Settings::for_dev("127.0.0.1:0".parse().unwrap(), "d".into());
        let own = Feature { transport: Some(Transport::Sse), ..chat() };
        settings.features = Features::declared(BTreeMap::from([("chat".to_owned(), own.clone())]));
        let features = added(settings).features;
        assert_eq!(features.named("chat"), Some(&own));
        assert!(features.named("stats").is_some());
        assert!(!features.is_open(), "what was closed stays closed");
    }
}
