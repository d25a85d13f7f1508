//! From [`Config`], as written, to [`Settings`], as meant: `[server]`, and the way to the others.
//!
//! Invariant: nothing here stops at the first problem.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tidewire_core::Features;

use super::{
    DATA_DEFAULT, LISTEN_DEFAULT, Origin, Origins, PREFIX_DEFAULT, Settings, Tls, auth, feature,
    origin::OriginError,
    problem::{Place, Problem, Report},
    read::Placed,
    webhook,
    written::{self, Config},
};

/// Where relative paths of the config begin, and where a problem of the whole file is.
pub(super) struct Home<'a> {
    /// The folder of the config file.
    folder: Option<&'a Path>,
    /// The config as a whole.
    pub(super) whole: Place,
}

impl<'a> Home<'a> {
    fn of(file: Option<&'a Path>) -> Self {
        let whole = Place::of_file(file.map(Path::to_owned).as_ref());
        Self { folder: file.and_then(Path::parent), whole }
    }

    /// The path that a value means.
    pub(super) fn path(&self, written: &Placed<String>) -> PathBuf {
        match (&written.place, self.folder) {
            (Place::Variable(_), _) | (_, None) => PathBuf::from(&written.value),
            (_, Some(folder)) => folder.join(&written.value),
        }
    }

    /// The content of a file that a value names. A file that cannot be read is a problem.
    pub(super) fn content(&self, written: &Placed<String>, report: &mut Report) -> Option<String> {
        let path = self.path(written);
        let read = std::fs::read_to_string(&path);
        if let Err(error) = &read {
            let what = format!("`{}` cannot be read: {error}", path.display());
            report.problem(written.problem(what).fix("name a text file that this user may read"));
        }
        read.ok()
    }
}

/// Settles the whole config. Nothing only when a problem was reported.
pub(super) fn settle(config: Config, file: Option<&Path>, report: &mut Report) -> Option<Settings> {
    let home = Home::of(file);
    let Config { server, auth, limits, features, webhooks } = config;
    let limits = limits.settle(&home.whole, report);
    let auth = auth::settle(auth, &home, report);
    let features = features_of(features, &home, report);
    let webhooks = webhook::settle(webhooks, &features, &home, report);
    let prefix = prefix(server.prefix.as_ref(), report);
    let listen = listen(server.listen.as_ref(), report);
    let tls = server.tls.and_then(|tls| settle_tls(&tls, &home, report));
    let listed = origins(&server.origins.unwrap_or_default(), report);
    let data = server.data.unwrap_or_else(|| Placed {
        value: DATA_DEFAULT.to_owned(),
        key: "server.data".to_owned(),
        place: home.whole.clone(),
    });
    if data.value.is_empty() {
        report.problem(data.problem("an empty path names no folder").fix("name a folder"));
    }
    Some(Settings {
        file: file.map(Path::to_owned),
        listen: listen?,
        prefix: prefix?,
        data: home.path(&data),
        origins: Origins { listed, loopback: false },
        tls,
        auth,
        limits,
        features,
        webhooks,
    })
}

fn features_of(features: Vec<written::Feature>, home: &Home<'_>, report: &mut Report) -> Features {
    if features.is_empty() {
        let warning = Problem::new(home.whole.clone(), "feature", "no feature is declared")
            .because("`serve` knows only the topics of declared features")
            .fix("write [feature.notifications], say, and answer its three questions");
        report.warning(warning);
    }
    Features::declared(feature::settle(features, report))
}

fn listen(written: Option<&Placed<String>>, report: &mut Report) -> Option<SocketAddr> {
    let text = written.map_or(LISTEN_DEFAULT, |written| written.value.as_str());
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let parsed = numeric.parse().ok();
    if let (None, Some(written)) = (parsed, written) {
        let fix = match text.rsplit_once(':') {
            Some(("", port)) => format!("write \"0.0.0.0:{port}\" for every address"),
            None if text.parse::<u16>().is_ok() => format!("write \"127.0.0.1:{text}\""),
            _ => "write an IP address and a port: \"127.0.0.1:4000\", \"[::]:4000\"".to_owned(),
        };
        let problem = written.problem(format!("`{text}` is not an address to listen on"));
        report.problem(problem.fix(fix));
    }
    parsed
}

fn prefix(written: Option<&Placed<String>>, report: &mut Report) -> Option<String> {
    let Some(written) = written else { return Some(PREFIX_DEFAULT.to_owned()) };
    let problem = prefix_problem(written);
    let is_good = problem.is_none();
    problem.into_iter().for_each(|problem| report.problem(problem));
    is_good.then(|| written.value.clone())
}

fn prefix_problem(written: &Placed<String>) -> Option<Problem> {
    /// First segments that belong to the server's operations or to development servers.
    const TAKEN: [&str; 5] = ["ws", "healthz", "readyz", "metrics", "inspector"];
    let text = written.value.as_str();
    let fix = "write one like \"/v1\" or \"/live/v1\"";
    let Some(path) = text.strip_prefix('/') else {
        return Some(written.problem(format!("`{text}` does not begin with `/`")).fix(fix));
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let is_segment =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain);
    if !path.split('/').all(is_segment) {
        let problem = written.problem(format!("`{text}` is not a prefix for paths"));
        let why = "it is one or more segments of A-Z a-z 0-9 - _ . ~, with no `/` at the end";
        return Some(problem.because(why).fix(fix));
    }
    let first = path.split('/').next().unwrap_or_default();
    if TAKEN.contains(&first) {
        let why = match first {
            "ws" => "development servers keep that path for their own reloading".to_owned(),
            _ => format!("/{first} is the server's own, outside the prefix"),
        };
        return Some(written.problem(format!("`/{first}` is taken")).because(why).fix(fix));
    }
    None
}

fn origins(written: &[Placed<String>], report: &mut Report) -> Vec<Origin> {
    let mut origins = Vec::new();
    for one in written {
        match Origin::parse(&one.value) {
            Ok(origin) => origins.push(origin),
            Err(error) => {
                let fix = match error {
                    OriginError::Path(_) => "leave out what follows the host and port",
                    _ => {
                        "write origins = [\"https://app.example.com\"], with your own pages' origin"
                    }
                };
                let what = format!("`{}` cannot be allowed", one.value);
                report.problem(one.problem(what).because(error.to_string()).fix(fix));
            }
        }
    }
    origins
}

fn settle_tls(tls: &written::Tls, home: &Home<'_>, report: &mut Report) -> Option<Tls> {
    let mut pem = |file: Option<&Placed<String>>, name: &str, label: &str| {
        let Some(file) = file else {
            let key = format!("server.tls.{name}");
            let problem = Problem::new(tls.place.clone(), key, "it is missing")
                .fix("write tls = { certificate = \"cert.pem\", key = \"key.pem\" }");
            report.problem(problem);
            return None;
        };
        let content = home.content(file, report)?;
        if !content.contains(label) {
            let what = format!("`{}` has no `{label}` in it", file.value);
            report.problem(file.problem(what).fix("name the PEM file of that kind"));
        }
        Some(home.path(file))
    };
    let certificate = pem(tls.certificate.as_ref(), "certificate", "-----BEGIN CERTIFICATE-----");
    let key = pem(tls.key.as_ref(), "key", "PRIVATE KEY-----");
    Some(Tls { certificate: certificate?, key: key? })
}
