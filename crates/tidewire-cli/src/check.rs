//! `tidewire check FILE`: every problem and warning of a config with its place; or what it means.
//!
//! Shows; the judging is `tidewire::config`'s. Never shows a secret.

use std::{io::Write, path::PathBuf, process::ExitCode};

use serde_json::{Value, json};
use tidewire::{
    config::{
        self, ConfigError, Loaded, Place, Problem, Settings, Verification, WebhookSettings,
        limits::show_limits,
        refusals_to_serve,
        units::{show_bytes, show_duration},
    },
    tidewire_core::{Feature, History, Limits},
};

use crate::{
    io::Io,
    plan::{feature_json, sentence, write_json},
};

/// Checks a config file and shows what it means.
///
/// Exit code 0: it is fine. 1: it has problems, all of them shown. 2: there is no such file.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The config file
    #[arg(value_name = "FILE", default_value = "tidewire.toml")]
    pub(crate) file: PathBuf,
    /// Count what `tidewire serve` refuses to start with as problems too
    #[arg(long)]
    pub(crate) serve: bool,
    /// Answer as JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// The exit code for problems in the config.
const PROBLEMS: u8 = 1;
/// The exit code for a command that cannot be meant.
const USAGE: u8 = 2;

/// Runs the command.
///
/// # Errors
/// Only when a stream fails.
pub(crate) fn run(args: &CheckArgs, io: &mut Io<'_>) -> anyhow::Result<ExitCode> {
    let loaded = config::load(&args.file, &io.environment);
    match loaded {
        Err(error) => {
            let shown = show_error(&error, args.json, io)?;
            Ok(if args.file.exists() { shown } else { ExitCode::from(USAGE) })
        }
        Ok(loaded) => {
            let refusals = refusals_to_serve(&loaded.settings);
            if args.serve && !refusals.is_empty() {
                let error = ConfigError { problems: refusals, warnings: loaded.warnings };
                return show_error(&error, args.json, io);
            }
            if args.json {
                write_json(&loaded_json(&loaded, &refusals), io.output)?;
            } else {
                show_loaded(args, &loaded, &refusals, io)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Shows a config that cannot be used, on the output when it is JSON.
pub(crate) fn show_error(
    error: &ConfigError,
    json: bool,
    io: &mut Io<'_>,
) -> anyhow::Result<ExitCode> {
    let ConfigError { problems, warnings } = error;
    if json {
        let value = json!({
            "fine": false,
            "problems": problems_json(problems),
            "warnings": problems_json(warnings),
        });
        write_json(&value, io.output)?;
    } else {
        show_problems("problem", problems, io.errors)?;
        show_problems("warning", warnings, io.errors)?;
        let count = problems.len();
        writeln!(io.errors, "{count} problem{}", if count == 1 { "" } else { "s" })?;
    }
    Ok(ExitCode::from(PROBLEMS))
}

fn show_problems(kind: &str, problems: &[Problem], output: &mut dyn Write) -> anyhow::Result<()> {
    for problem in problems {
        let Problem { place, key, what, why, fix } = problem;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        writeln!(output, "{place}: {kind}: {key}{what}")?;
        if let Some(why) = why {
            writeln!(output, "    because {why}")?;
        }
        if let Some(fix) = fix {
            writeln!(output, "    {fix}")?;
        }
    }
    Ok(())
}

fn problems_json(problems: &[Problem]) -> Vec<Value> {
    let one = |problem: &Problem| {
        let (file, line, column) = match &problem.place {
            Place::Text { file, line, column } => (Some(&**file), Some(line), Some(column)),
            Place::File(file) => (Some(&**file), None, None),
            Place::Variable(_) | Place::Command => (None, None, None),
        };
        let variable = match &problem.place {
            Place::Variable(name) => Some(name),
            _ => None,
        };
        json!({
            "file": file, "line": line, "column": column, "variable": variable,
            "key": problem.key, "what": problem.what, "why": problem.why, "fix": problem.fix,
        })
    };
    problems.iter().map(one).collect()
}

fn show_loaded(
    args: &CheckArgs,
    loaded: &Loaded,
    refusals: &[Problem],
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let settings = &loaded.settings;
    show_problems("warning", &loaded.warnings, io.errors)?;
    let out = &mut *io.output;
    writeln!(out, "{} is fine.\n", args.file.display())?;
    writeln!(out, "listen    {}", settings.listen)?;
    writeln!(out, "prefix    {}", settings.prefix)?;
    writeln!(out, "data      {}", settings.data.display())?;
    writeln!(out, "origins   {}", list(settings.origins.listed.iter().map(ToString::to_string)))?;
    let tls = settings.tls.as_ref().map(|tls| tls.certificate.display().to_string());
    writeln!(out, "tls       {}", tls.as_deref().unwrap_or("none"))?;
    writeln!(out, "tokens    {}", tokens(settings))?;
    writeln!(out, "API keys  {}", list(settings.auth.keys.iter().map(|key| key.name.clone())))?;
    if let Some(app) = &settings.auth.authorize {
        let asks = list(app.asks.words().map(str::to_owned));
        writeln!(out, "app       {} decides about {asks}", app.url)?;
    }
    for webhook in &settings.webhooks {
        let events = list(webhook.events.iter().map(|event| event.as_str().to_owned()));
        let topics = list(webhook.topics.iter().map(|topic| topic.as_str().to_owned()));
        writeln!(out, "webhook   {}: {events} of {topics} to {}", webhook.name, webhook.url)?;
    }
    writeln!(out, "\nfeatures")?;
    for (name, feature) in settings.features.iter() {
        writeln!(out, "  {name}: {}", sentence(feature))?;
        writeln!(out, "  {:width$}  {}", "", kept(feature), width = name.len())?;
    }
    let defaults = show_limits(&Limits::default());
    let changed: Vec<_> = show_limits(&settings.limits)
        .into_iter()
        .zip(defaults)
        .filter(|(limit, default)| limit != default)
        .collect();
    if !changed.is_empty() {
        writeln!(out, "\nlimits that differ from the default")?;
    }
    for ((name, value), (_, default)) in changed {
        writeln!(out, "  {name}: {value} instead of {default}")?;
    }
    if !refusals.is_empty() {
        writeln!(out, "\n`tidewire serve` would not start with it:")?;
        show_problems("missing", refusals, out)?;
    }
    Ok(())
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn tokens(settings: &Settings) -> String {
    let auth = &settings.auth;
    let with = match &auth.verification {
        None => return "none".to_owned(),
        Some(Verification::Secret(_)) => "a shared secret".to_owned(),
        Some(Verification::PublicKey(_)) => "a public key".to_owned(),
        Some(Verification::Jwks(url)) => format!("the keys at {url}"),
    };
    let leeway = show_duration(auth.leeway);
    let (algorithm, audience) = (auth.algorithm.as_str(), &auth.audience);
    format!("{algorithm}, with {with}, for the audience \"{audience}\", leeway {leeway}")
}

fn kept(feature: &Feature) -> String {
    let presence = if feature.presence { "; with presence" } else { "" };
    let kept = match feature.history {
        History::None => "nothing is kept".to_owned(),
        History::Kept { age, bytes } => {
            let age = age.map_or_else(|| "for ever".to_owned(), show_duration);
            let bytes = bytes.map(|bytes| format!(", at most {}", show_bytes(bytes)));
            let stored = feature.stored;
            format!("kept {age}{}, answered when stored: {stored}", bytes.unwrap_or_default())
        }
    };
    kept + presence
}

fn webhook_json(webhook: &WebhookSettings) -> Value {
    json!({
        "name": webhook.name,
        "url": webhook.url.as_str(),
        "events": webhook.events.iter().map(|event| event.as_str()).collect::<Vec<_>>(),
        "topics": webhook.topics.iter().map(|topic| topic.as_str()).collect::<Vec<_>>(),
        "timeout": show_duration(webhook.timeout),
    })
}

fn loaded_json(loaded: &Loaded, refusals: &[Problem]) -> Value {
    let settings = &loaded.settings;
    let auth = &settings.auth;
    let features: Vec<Value> = settings
        .features
        .iter()
        .map(|(name, feature)| {
            let mut value = feature_json(name, feature);
            let (age, bytes) = match feature.history {
                History::None => (None, None),
                History::Kept { age, bytes } => (age, bytes),
            };
            value["kept"] = json!(feature.is_kept());
            value["history_ms"] =
                json!(age.map(|age| age.as_millis().to_string().parse::<u64>().ok()));
            value["history_bytes"] = json!(bytes);
            value["stored"] = json!(feature.stored.to_string());
            value["presence"] = json!(feature.presence);
            value
        })
        .collect();
    let limits: serde_json::Map<String, Value> = show_limits(&settings.limits)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let verification = auth.verification.as_ref().map(|verification| match verification {
        Verification::Secret(_) => "secret",
        Verification::PublicKey(_) => "public_key",
        Verification::Jwks(_) => "jwks",
    });
    let origins: Vec<&str> = settings.origins.listed.iter().map(|origin| origin.as_str()).collect();
    let tls = settings.tls.as_ref().map(|tls| {
        json!({
            "certificate": tls.certificate.display().to_string(),
            "key": tls.key.display().to_string(),
        })
    });
    json!({
        "fine": true,
        "problems": [],
        "warnings": problems_json(&loaded.warnings),
        "serve_refuses": problems_json(refusals),
        "settings": {
            "listen": settings.listen.to_string(),
            "prefix": settings.prefix,
            "data": settings.data.display().to_string(),
            "origins": origins,
            "tls": tls,
            "auth": {
                "tokens": verification,
                "algorithm": auth.algorithm.as_str(),
                "audience": auth.audience,
                "leeway": show_duration(auth.leeway),
                "keys": auth.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>(),
                "app": auth.authorize.as_ref().map(|app| json!({
                    "url": app.url.as_str(),
                    "asks": app.asks.words().collect::<Vec<_>>(),
                    "timeout": show_duration(app.timeout),
                })),
            },
            "webhooks": settings.webhooks.iter().map(webhook_json).collect::<Vec<_>>(),
            "limits": limits,
            "features": features,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tests::{Written, with};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn check(text: &str, json: bool, serve: bool) -> (ExitCode, Written) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.toml");
        std::fs::write(&file, text).unwrap();
        let (result, written) = with("", |io| run(&CheckArgs { file, serve, json }, io));
        (result.unwrap(), written)
    }

    #[test]
    fn problems_are_shown_with_their_places_and_exit_1() {
        let text = "[server]\nlisen = \"x\"\n[feature.a]\nproxies = \"x\"\n[limits]\n\
                    beat_interval = \"40s\"\n";
        let (code, written) = check(text, false, false);
        assert_eq!(code, ExitCode::from(1));
        assert!(written.output.is_empty());
        assert!(written.errors.contains("t.toml:2:1: problem: server.lisen: unknown key\n"));
        assert!(written.errors.contains("did you mean `listen`?"));
        assert!(written.errors.contains("t.toml:4:11: problem: feature.a.proxies"));
        assert!(written.errors.contains("t.toml:6:17: warning: limits.beat_interval"));
        assert!(written.errors.ends_with("2 problems\n"));
    }

    #[test]
    fn problems_are_data_for_programs() {
        let (code, written) = check("[server]\nlisen = \"x\"\n", true, false);
        let value: Value = serde_json::from_str(&written.output).unwrap();
        assert_eq!(code, ExitCode::from(1));
        assert_eq!(value["problems"][0]["line"], 2);
        assert_eq!(value["problems"][0]["key"], "server.lisen");
        assert_eq!(value["fine"], false);
    }

    #[test]
    fn a_good_config_shows_what_it_means_and_no_secret() {
        let text = format!(
            "[server]\norigins = [\"https://a.example\"]\n[auth]\nsecret = \"{SECRET}\"\n\
             [limits]\npage_entries_max = 7\n[feature.chat]\nclient_sends = true\n\
             history_bytes = \"1GiB\"\n[feature.pointers]\nhistory = \"none\"\n[[webhook]]\n\
             name = \"search\"\nurl = \"https://a.example/hook\"\nsecret = \"{SECRET}\"\n\
             events = [\"published\"]\ntopics = [\"chat/**\"]\n"
        );
        let (code, written) = check(&text, false, true);
        assert_eq!(code, ExitCode::SUCCESS);
        for part in [
            "t.toml is fine.",
            "listen    127.0.0.1:4000",
            "origins   https://a.example",
            "HS256, with a shared secret",
            "chat: WebSocket, because the client sends",
            "kept 7d, at most 1GiB, answered when stored: fsync",
            "nothing is kept",
            "page_entries_max: 7 instead of 1000",
            "webhook   search: published of chat/** to https://a.example/hook",
        ] {
            assert!(written.output.contains(part), "{part}\n{}", written.output);
        }
        let (_, json) = check(&text, true, true);
        let value: Value = serde_json::from_str(&json.output).unwrap();
        assert_eq!(value["settings"]["features"][0]["history_ms"], 604_800_000);
        assert_eq!(value["settings"]["limits"]["page_entries_max"], "7");
        assert_eq!(value["settings"]["auth"]["tokens"], "secret");
        assert_eq!(value["settings"]["webhooks"][0]["topics"][0], "chat/**");
        assert!(!written.output.contains(SECRET) && !json.output.contains(SECRET));
    }

    #[test]
    fn what_serve_needs_is_said_and_counts_when_asked() {
        let (code, written) = check("[feature.a]\n", false, false);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(written.output.contains("`tidewire serve` would not start"));
        let (code, written) = check("[feature.a]\n", false, true);
        assert_eq!(code, ExitCode::from(1));
        assert!(
            written.errors.contains("auth.secret") && written.errors.contains("server.origins")
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_a_usage_error() {
        let args = CheckArgs { file: "/absent.toml".into(), serve: false, json: false };
        let (code, written) = with("", |io| run(&args, io));
        assert_eq!(code.unwrap(), ExitCode::from(2));
        assert!(written.errors.contains("/absent.toml: problem: the config cannot be read"));
    }
}
