//! `tidewire plan`: three answers → a transport and the reason; or a whole config's features.
//!
//! Asks and shows; the deciding is `tidewire_proto::plan`'s.

use std::{
    io::{BufRead, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tidewire::{
    config,
    tidewire_core::Feature,
    tidewire_proto::plan::{Answers, Decision, Proxies, Transport, plan},
};

use crate::{check, io::Io};

/// Says which transport a feature gets, and why.
///
/// With no option it asks the three questions. With any of --client-sends, --binary, --proxies it
/// asks nothing; what is left out has its default (no, no, detect). With --config it shows every
/// feature of a config.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct PlanArgs {
    /// Question 1: does the client send on this connection? yes or no
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
    pub(crate) client_sends: Option<bool>,
    /// Question 2: is the data binary? yes or no
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
    pub(crate) binary: Option<bool>,
    /// Question 3: are there proxies you don't control? yes, no or detect
    #[arg(long, value_name = "YES|NO|DETECT", value_parser = yes_no_or_detect)]
    pub(crate) proxies: Option<Proxies>,
    /// The plan of every feature of this config file instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client_sends", "binary", "proxies"])]
    pub(crate) config: Option<PathBuf>,
    /// Answer as JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" => Ok(true),
        "n" | "no" | "false" => Ok(false),
        _ => Err("answer yes or no".to_owned()),
    }
}

fn yes_no_or_detect(text: &str) -> Result<Proxies, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "d" | "detect" => Ok(Proxies::Detect),
        other => match yes_or_no(other) {
            Ok(true) => Ok(Proxies::Yes),
            Ok(false) => Ok(Proxies::No),
            Err(_) => Err("answer yes, no or detect".to_owned()),
        },
    }
}

/// Runs the command.
///
/// # Errors
/// When the input ends before the last answer, or a stream fails. A config with problems is shown
/// and gives the exit code of `tidewire check`.
pub(crate) fn run(args: &PlanArgs, io: &mut Io<'_>) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.config {
        return match config::load(file, &io.environment) {
            Ok(loaded) => show_features(&loaded.settings, args.json, io.output),
            Err(error) => check::show_error(&error, args.json, io),
        };
    }
    let is_asked = args.client_sends.is_none() && args.binary.is_none() && args.proxies.is_none();
    let answers = if is_asked {
        ask_all(io.input, io.errors)?
    } else {
        Answers {
            client_sends: args.client_sends.unwrap_or_default(),
            binary: args.binary.unwrap_or_default(),
            proxies: args.proxies.unwrap_or_default(),
        }
    };
    show_answers(&answers, args.json, io.output)?;
    Ok(ExitCode::SUCCESS)
}

fn ask_all(input: &mut dyn BufRead, prompt: &mut dyn Write) -> anyhow::Result<Answers> {
    let client_sends =
        ask(input, prompt, "1. Does the client send on this connection? [y/N]", false, yes_or_no)?;
    let binary = ask(input, prompt, "2. Is the data binary? [y/N]", false, yes_or_no)?;
    let question = "3. Are there proxies you don't control? [y/n/D = detect]";
    let proxies = ask(input, prompt, question, Proxies::Detect, yes_no_or_detect)?;
    writeln!(prompt)?;
    Ok(Answers { client_sends, binary, proxies })
}

/// Asks until the answer is one; an empty line is the default.
fn ask<T>(
    input: &mut dyn BufRead,
    prompt: &mut dyn Write,
    question: &str,
    default: T,
    parse: impl Fn(&str) -> Result<T, String>,
) -> anyhow::Result<T> {
    loop {
        write!(prompt, "{question} ")?;
        prompt.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line).context("the answer could not be read")? == 0 {
            bail!(
                "the input ended before every question was answered: \
                 answer them here, or with --client-sends, --binary and --proxies"
            );
        }
        if line.trim().is_empty() {
            return Ok(default);
        }
        match parse(&line) {
            Ok(answer) => return Ok(answer),
            Err(hint) => writeln!(prompt, "   Please {hint}.")?,
        }
    }
}

fn show_answers(answers: &Answers, as_json: bool, output: &mut dyn Write) -> anyhow::Result<()> {
    let decision = plan(answers, None);
    if as_json {
        return write_json(&decision_json(answers, None, decision), output);
    }
    let Decision { transport, reason } = decision;
    writeln!(
        output,
        "{} ({}), because {}.",
        transport.name(),
        transport.as_str(),
        reason.sentence()
    )?;
    writeln!(output, "\nIn the config:\n\n[feature.NAME]")?;
    writeln!(output, "client_sends = {}", answers.client_sends)?;
    writeln!(output, "binary       = {}", answers.binary)?;
    let proxies = match answers.proxies {
        Proxies::Detect => "\"detect\"",
        known => known.as_str(),
    };
    writeln!(output, "proxies      = {proxies}")?;
    Ok(())
}

fn show_features(
    settings: &config::Settings,
    as_json: bool,
    output: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let features: Vec<(&str, &Feature)> = settings.features.iter().collect();
    if as_json {
        let features: Vec<Value> =
            features.iter().map(|(name, feature)| feature_json(name, feature)).collect();
        write_json(&json!({ "features": features }), output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = features.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, feature) in features {
        writeln!(output, "{name:width$}  {}", sentence(feature))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `WebSocket, because the client sends on this connection (question 1)`.
pub(crate) fn sentence(feature: &Feature) -> String {
    let Decision { transport, reason } = feature.decision();
    format!("{}, because {}", transport.name(), reason.sentence())
}

/// One feature's plan, for programs.
pub(crate) fn feature_json(name: &str, feature: &Feature) -> Value {
    let mut value = decision_json(&feature.answers, feature.transport, feature.decision());
    value["name"] = json!(name);
    value
}

fn decision_json(answers: &Answers, chosen: Option<Transport>, decision: Decision) -> Value {
    json!({
        "transport": decision.transport.as_str(),
        "reason": decision.reason.as_str(),
        "because": decision.reason.sentence(),
        "override": chosen.map(Transport::as_str),
        "answers": {
            "client_sends": answers.client_sends,
            "binary": answers.binary,
            "proxies": answers.proxies.as_str(),
        },
    })
}

/// One JSON document and a line end.
pub(crate) fn write_json(value: &Value, output: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(output, "{}", serde_json::to_string_pretty(value)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tests::{Written, with};

    fn asked(input: &str) -> (anyhow::Result<ExitCode>, Written) {
        with(input, |io| run(&PlanArgs::default(), io))
    }

    #[test]
    fn the_three_questions_are_asked_and_answered() {
        for (input, begins) in [
            ("y\nn\nd\n", "WebSocket (ws), because the client sends on this connection"),
            ("YES\n\n\n", "WebSocket (ws), because the client sends on this connection"),
            ("no\nyes\nno\n", "WebSocket (ws), because the data is binary (question 2)"),
            ("n\nn\ny\n", "WebSocket (ws), because there are proxies you don't control"),
            ("n\nn\nn\n", "Server-Sent Events (sse), because only the server sends, it sends"),
            ("\n\n\n", "Server-Sent Events (sse), because only the server sends, and it"),
        ] {
            let (result, written) = asked(input);
            assert!(result.is_ok());
            assert!(written.output.starts_with(begins), "{input:?}: {}", written.output);
            assert_eq!(written.errors.matches('?').count(), 3);
        }
    }

    #[test]
    fn nonsense_is_asked_again() {
        let (result, written) = asked("what\ny\nn\nmaybe\nd\n");
        assert!(result.is_ok());
        assert!(written.errors.contains("Please answer yes or no."));
        assert!(written.errors.contains("Please answer yes, no or detect."));
        assert!(written.output.starts_with("WebSocket"));
    }

    #[test]
    fn an_input_that_ends_is_an_error_that_says_what_to_do() {
        let (result, _) = asked("y\n");
        assert!(result.unwrap_err().to_string().contains("--client-sends"));
    }

    #[test]
    fn flags_ask_nothing_and_the_rest_has_its_default() {
        let args = PlanArgs { binary: Some(true), json: true, ..PlanArgs::default() };
        let (result, written) = with("", |io| run(&args, io));
        assert!(result.is_ok() && written.errors.is_empty());
        let value: Value = serde_json::from_str(&written.output).unwrap();
        assert_eq!(value["transport"], "ws");
        assert_eq!(value["reason"], "binary");
        let answers = json!({"client_sends": false, "binary": true, "proxies": "detect"});
        assert_eq!(value["answers"], answers);
    }

    #[test]
    fn a_config_shows_all_its_features() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.toml");
        let text = "[feature.chat]\nclient_sends = true\ntransport = \"sse\"\n[feature.news]\n";
        std::fs::write(&file, text).unwrap();
        let mut args = PlanArgs { config: Some(file), ..PlanArgs::default() };
        let (_, written) = with("", |io| run(&args, io));
        let lines: Vec<&str> = written.output.lines().collect();
        assert!(lines[0].starts_with("chat  Server-Sent Events, because the operator chose it"));
        assert!(lines[1].starts_with("news  Server-Sent Events, because only the server sends"));
        args.json = true;
        let (_, written) = with("", |io| run(&args, io));
        let value: Value = serde_json::from_str(&written.output).unwrap();
        assert_eq!(value["features"][0]["name"], "chat");
        assert_eq!(value["features"][0]["override"], "sse");
        assert_eq!(value["features"][1]["override"], Value::Null);
    }

    #[test]
    fn flags_are_read_from_the_command_line() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            plan: PlanArgs,
        }
        let read = |words: &[&str]| Line::try_parse_from([&["plan"], words].concat());
        let line = read(&["--client-sends", "yes", "--proxies", "detect"]).ok().unwrap().plan;
        assert_eq!((line.client_sends, line.proxies), (Some(true), Some(Proxies::Detect)));
        assert!(read(&["--binary", "perhaps"]).is_err());
        assert!(read(&["--config", "x", "--binary", "no"]).is_err());
    }
}
