//! The config from outside: text and variables in, settings or problems out.

use std::{fs, path::Path, time::Duration};

use tidewire_core::{Action, Feature, History};
use tidewire_proto::{
    Stored, Topic,
    plan::{Answers, Proxies, Reason, Transport},
};

use super::*;

fn read(text: &str) -> Result<Loaded, ConfigError> {
    parse(text, Path::new("tidewire.toml"), &Environment::none())
}

fn settings(text: &str) -> Settings {
    read(text).unwrap_or_else(|error| panic!("{error}")).settings
}

fn problems(text: &str) -> Vec<String> {
    read(text).map(|_| Vec::new()).unwrap_or_else(|e| show(&e.problems))
}

fn show(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn feature(text: &str) -> Feature {
    settings(&format!("[feature.x]\n{text}")).features.named("x").unwrap().clone()
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn every_key_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let pem = |label: &str| format!("-----BEGIN {label}-----\nAA==\n-----END {label}-----\n");
    fs::write(folder.path().join("cert.pem"), pem("CERTIFICATE")).unwrap();
    fs::write(folder.path().join("key.pem"), pem("PRIVATE KEY")).unwrap();
    fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let text = r#"
        [server]
        listen  = "0.0.0.0:4433"
        prefix  = "/live/v1"
        data    = "log"
        origins = ["https://app.example.com", "https://App.example.com:8443"]
        tls     = { certificate = "cert.pem", key = "key.pem" }
        [auth]
        secret_file = "secret"
        algorithm   = "HS256"
        audience    = "my-app"
        leeway      = "10s"
        [[auth.key]]
        name      = "backend"
        key       = "abcdefghijklmnopqrstuvwxyz012345"
        publish   = ["**"]
        subscribe = ["chat/*"]
        [limits]
        message_bytes_max = "128KiB"
        page_bytes_max    = 4096
        topics_per_stream_max = 8
        beat_interval     = "15s"
        [feature.chat]
        client_sends  = true
        binary        = false
        proxies       = "detect"
        transport     = "sse"
        history       = "30d"
        history_bytes = "1GiB"
        stored        = "os"
        [feature.pointers]
        client_sends = true
        history = "none"
    "#;
    let file = folder.path().join("tidewire.toml");
    fs::write(&file, text).unwrap();
    let loaded = load(&file, &Environment::none()).unwrap();
    assert_eq!(show(&loaded.warnings), [""; 0]);
    let settings = loaded.settings;
    assert_eq!(settings.listen, "0.0.0.0:4433".parse().unwrap());
    assert_eq!(settings.prefix, "/live/v1");
    assert_eq!(settings.data, folder.path().join("log"));
    assert!(settings.origins.allows("https://app.example.com:8443"));
    assert!(!settings.origins.allows("http://localhost:4000"));
    assert_eq!(settings.tls.unwrap().key, folder.path().join("key.pem"));
    assert_eq!(settings.auth.verification, Some(Verification::Secret(Secret::new(SECRET))));
    assert_eq!((settings.auth.audience.as_str(), settings.auth.leeway.as_secs()), ("my-app", 10));
    let key = &settings.auth.keys[0];
    assert_eq!((key.name.as_str(), key.grant.patterns(Action::Subscribe).len()), ("backend", 1));
    assert_eq!(settings.limits.message_bytes_max, 128 * 1024);
    assert_eq!(settings.limits.page_bytes_max, 4096);
    assert_eq!(settings.limits.topics_per_stream_max, 8);
    assert_eq!(settings.limits.beat_interval, Duration::from_secs(15));
    let chat = settings.features.named("chat").unwrap();
    assert_eq!(chat.answers, Answers { client_sends: true, ..Answers::default() });
    assert_eq!((chat.transport, chat.stored), (Some(Transport::Sse), Stored::Os));
    let age = Some(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(chat.history, History::Kept { age, bytes: Some(1 << 30) });
    let pointers = settings.features.named("pointers").unwrap();
    assert_eq!((pointers.history, pointers.stored), (History::None, Stored::Memory));
    assert!(!settings.features.is_open());
}

#[test]
fn the_example_of_the_design_loads() {
    let text = r#"
        [feature.notifications]
        client_sends = false
        binary       = false
        proxies      = "detect"
        [feature.chat]
        client_sends = true
        history      = "30d"
        presence     = true
        [feature.pointers]
        client_sends = true
        binary       = true
        history      = "none"
    "#;
    let loaded = read(text).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let has_presence = |name| loaded.settings.features.named(name).unwrap().presence;
    assert!(has_presence("chat") && !has_presence("pointers"));
    let decision = |name| loaded.settings.features.named(name).unwrap().decision();
    assert_eq!(decision("notifications").reason, Reason::ServerPushes);
    assert_eq!(decision("chat").transport, Transport::Ws);
    assert_eq!(decision("pointers").transport, Transport::Ws);
}

#[test]
fn nothing_written_is_the_defaults() {
    let loaded = from_environment(&Environment::none()).unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.listen, LISTEN_DEFAULT.parse().unwrap());
    assert_eq!(settings.prefix, PREFIX_DEFAULT);
    assert_eq!(settings.data, Path::new(DATA_DEFAULT));
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.auth, AuthSettings::default());
    assert!(settings.origins.is_empty());
    assert!(show(&loaded.warnings)[0].contains("no feature is declared"));
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = "[server]\n\
                lisen = \"127.0.0.1:1\"\n\
                prefix = \"v1\"\n\
                origins = [\"*\", \"https://ok.example\"]\n\
                [auth]\n\
                secret = \"short\"\n\
                [limits]\n\
                beat_interval = 20\n\
                [feature.chat]\n\
                client_sends = \"yes\"\n\
                histroy = \"7d\"\n\
                [sever]\n";
    let found = problems(text);
    let expected = [
        "tidewire.toml:2:1: server.lisen: unknown key; did you mean `listen`?",
        "tidewire.toml:3:10: server.prefix: `v1` does not begin with `/`; write one like",
        "tidewire.toml:4:12: server.origins[0]: `*` cannot be allowed: a wildcard lets",
        "tidewire.toml:6:10: auth.secret: the secret has 5 bytes: a secret shorter than 32",
        "tidewire.toml:8:17: limits.beat_interval: expected a duration, found a number; write",
        "tidewire.toml:10:16: feature.chat.client_sends: expected true or false, found a text",
        "tidewire.toml:11:1: feature.chat.histroy: unknown key; did you mean `history`?",
        "tidewire.toml:12:2: sever: there is no such section; did you mean `server`?",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

/// A config, and a part of the one problem that it has.
const ONE_PROBLEM: &[(&str, &str)] = &[
    ("[server\n", "this is not TOML"),
    ("[server]\nlisten = \":4000\"", "write \"0.0.0.0:4000\" for every address"),
    ("[server]\nlisten = \"4000\"", "write \"127.0.0.1:4000\""),
    ("[server]\nlisten = \"example.com:80\"", "is not an address to listen on"),
    ("[server]\nlisten = 4000", "expected a text, found a number"),
    ("[server]\nprefix = \"/ws\"", "`/ws` is taken: development servers"),
    ("[server]\nprefix = \"/ws/v1\"", "`/ws` is taken"),
    ("[server]\nprefix = \"/inspector\"", "`/inspector` is taken"),
    ("[server]\nprefix = \"/\"", "is not a prefix"),
    ("[server]\nprefix = \"/v1/\"", "is not a prefix"),
    ("[server]\nprefix = \"/a/../b\"", "is not a prefix"),
    ("[server]\nprefix = \"/a?b\"", "is not a prefix"),
    ("[server]\ndata = \"\"", "an empty path names no folder"),
    ("[server]\norigins = \"https://a.example\"", "expected a list of texts, found a text"),
    ("[server]\norigins = [1]", "server.origins[0]: expected a text"),
    ("[server]\norigins = [\"https://a.example/\"]", "write \"https://a.example\""),
    ("[server]\ntls = { certificate = \"absent.pem\", key = \"Cargo.toml\" }", "cannot be read"),
    ("[server.tls]\ncertificate = \"Cargo.toml\"\n", "server.tls.key: it is missing"),
    ("[auth]\nalgorithm = \"none\"", "`none` is not an algorithm"),
    ("[auth]\npublic_key_file = \"absent.pem\"\nalgorithm = \"RS256\"", "cannot be read"),
    ("[auth]\njwks_url = \"https://a.example/k\"", "auth.algorithm: it is missing"),
    ("[auth]\njwks_url = \"https://a.example/k\"\nalgorithm = \"HS256\"", "cannot check HS256"),
    (
        "[auth]\njwks_url = \"http://a.example/k\"\nalgorithm = \"RS256\"",
        "not fetched from `http:`",
    ),
    ("[auth]\njwks_url = \"file:///k\"\nalgorithm = \"RS256\"", "not fetched from `file:`"),
    ("[auth]\nleeway = \"1h\"", "so much leeway"),
    ("[auth]\naudience = \"\"", "an empty audience"),
    ("[auth]\nkey = \"x\"", "expected a list of tables, found a text; write [[auth.key]]"),
    ("[limits]\npage_entries_max = 0", "limits.page_entries_max: zero would let nothing through"),
    ("[limits]\nbeat_interval = \"0s\"", "leave it out for the default, 20s"),
    ("[limits]\npage_entries_max = -1", "expected a whole number, zero or more"),
    ("[limits]\nmessage_bytes_max = \"1kib\"", "there is no unit `kib`"),
    ("[limits]\nmessage_bytes_max = \"5MiB\"", "does not fit into `batch_bytes_max`"),
    ("[limits]\nhead_bytes_max = \"4KiB\"", "`token_bytes_max` does not fit into `head_bytes_max`"),
    ("[limits]\nmesage_bytes_max = 5", "did you mean `message_bytes_max`?"),
    ("[feature.\"a/b\"]\n", "`a/b` cannot name a feature"),
    ("[feature.\"a b\"]\n", "`a b` cannot name a feature"),
    ("[feature]\nchat = true", "expected a table, found true or false; write [feature.chat]"),
    ("[feature.x]\nproxies = \"maybe\"", "write proxies = \"detect\", true or false"),
    ("[feature.x]\ntransport = \"websocket\"", "write \"sse\", \"ws\" or \"poll\""),
    ("[feature.x]\nhistory = \"lots\"", "`lots` is not a history"),
    ("[feature.x]\nhistory = \"0s\"", "an age of zero would keep nothing"),
    ("[feature.x]\nhistory_bytes = 0", "zero bytes would keep nothing"),
    ("[feature.x]\nstored = \"disk\"", "write \"fsync\""),
    ("[feature.x]\nstored = \"memory\"", "its lowest level is \"os\""),
    ("[feature.x]\nhistory = \"none\"\nstored = \"fsync\"", "nothing is stored"),
    ("[feature.x]\nhistory = \"none\"\nstored = \"os\"", "leave `stored` out"),
    ("[feature.x]\nhistory = \"none\"\ntransport = \"poll\"", "a poll needs a place to resume"),
    ("[feature.x]\nhistory = \"none\"\nhistory_bytes = 5", "there are no bytes to bound"),
];

#[test]
fn each_mistake_has_its_own_problem() {
    for (text, part) in ONE_PROBLEM {
        let found = problems(text);
        // A file that is missing beside it, or a key that follows from it, may be named as well.
        assert!(found.iter().any(|problem| problem.contains(part)), "{text}\n{found:#?}");
        let is_single = found.len() == 1 || text.contains("tls");
        assert!(is_single, "{text}\n{found:#?}");
    }
}

#[test]
fn what_is_unusual_but_sensible_is_allowed() {
    for (text, expected) in [
        ("client_sends = true\ntransport = \"sse\"", Transport::Sse),
        ("client_sends = true\ntransport = \"poll\"", Transport::Poll),
        ("binary = true\ntransport = \"sse\"", Transport::Sse),
        ("proxies = true", Transport::Ws),
        ("proxies = false", Transport::Sse),
    ] {
        assert_eq!(feature(text).decision().transport, expected, "{text}");
    }
    assert_eq!(feature("proxies = true").answers.proxies, Proxies::Yes);
    assert_eq!(feature("history = \"none\"\nstored = \"memory\"").stored, Stored::Memory);
    let History::Kept { age: None, bytes } = feature("history = \"forever\"").history else {
        panic!("kept for ever");
    };
    assert_eq!(bytes, None);
    assert_eq!(settings("[limits]\nrecent_bytes_max = 0").limits.recent_bytes_max, 0);
    let topic = Topic::parse("x/y").unwrap();
    assert!(settings("[feature.x]").features.of(&topic).is_some());
}

#[test]
fn a_long_beat_is_a_warning() {
    let loaded = read("[feature.x]\n[limits]\nbeat_interval = \"40s\"").unwrap();
    assert!(show(&loaded.warnings)[0].contains("write 25s or less"));
    assert!(read("[feature.x]\n[limits]\nbeat_interval = \"25s\"").unwrap().warnings.is_empty());
}

#[test]
fn tokens_are_checked_in_one_way_only() {
    let text = format!(
        "[auth]\nsecret = \"{SECRET}\"\njwks_url = \"https://a.example/k\"\nalgorithm = \"RS256\""
    );
    let found = problems(&text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("`jwks_url` is given too, beside `secret`"));
    assert!(found[1].contains("a shared secret can only check HS256"));
}

#[test]
fn a_key_file_of_the_wrong_kind_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    fs::write(folder.path().join("public.pem"), key.public_key_pem()).unwrap();
    fs::write(folder.path().join("private.pem"), key.serialize_pem()).unwrap();
    let read = |file: &str, algorithm: &str| {
        let text = format!("[auth]\npublic_key_file = \"{file}\"\nalgorithm = \"{algorithm}\"");
        let read = parse(&text, &folder.path().join("t.toml"), &Environment::none());
        read.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(read("public.pem", "EdDSA"), Ok(()));
    assert!(read("public.pem", "RS256").unwrap_err().contains("is not a public key for RS256"));
    assert!(read("private.pem", "EdDSA").unwrap_err().contains("it is a private key"));
}

#[test]
fn api_keys_are_checked() {
    let key = |rest: &str| format!("[[auth.key]]\nname = \"b\"\n{rest}\n");
    let good = key(&format!("key = \"{SECRET}\"\npublish = [\"**\"]"));
    assert_eq!(problems(&good), [""; 0]);
    for (text, part) in [
        (key("publish = [\"**\"]"), "auth.key[0].key: it is missing"),
        (key("key = \"short\"\npublish = [\"**\"]"), "the key has 5 characters"),
        (key(&format!("key = \"{SECRET}\"")), "auth.key[0].publish: it is missing"),
        (key(&format!("key = \"{SECRET}\"\npublish = [\"a*\"]")), "`a*` is not a pattern"),
        (key(&format!("key = \"{SECRET}\"\npublsh = []\nsubscribe = [\"**\"]")), "`publish`?"),
    ] {
        let found = problems(&text);
        assert!(found.len() == 1 && found[0].contains(part), "{text}\n{found:#?}");
    }
    let found = problems(&format!("{good}{good}"));
    assert!(found[0].contains("two keys have this name"), "{found:#?}");
    assert!(found[1].contains("two entries have the same key"), "{found:#?}");
    assert!(!found.concat().contains(SECRET));
}

#[test]
fn variables_win_over_the_file_and_are_checked_like_it() {
    let file = Path::new("/etc/tidewire/tidewire.toml");
    let text = "[server]\nlisten = \"127.0.0.1:1\"\ndata = \"d\"\n[feature.chat]\nhistory = \"1d\"";
    let good = Environment::of([
        ("TIDEWIRE_SERVER__LISTEN", "127.0.0.1:2"),
        ("TIDEWIRE_SERVER__ORIGINS", "https://a.example, https://b.example"),
        ("TIDEWIRE_AUTH__SECRET", SECRET),
        ("TIDEWIRE_LIMITS__PAGE_ENTRIES_MAX", "7"),
        ("TIDEWIRE_LIMITS__MESSAGE_BYTES_MAX", "4096"),
        ("TIDEWIRE_FEATURE__CHAT__HISTORY", "none"),
        ("TIDEWIRE_FEATURE__CHAT__CLIENT_SENDS", "true"),
    ]);
    let settings = parse(text, file, &good).unwrap_or_else(|e| panic!("{e}")).settings;
    assert_eq!(settings.listen.port(), 2);
    assert_eq!(settings.data, Path::new("/etc/tidewire/d"));
    assert_eq!(settings.origins.listed.len(), 2);
    assert_eq!((settings.limits.page_entries_max, settings.limits.message_bytes_max), (7, 4096));
    let chat = settings.features.named("chat").unwrap();
    assert!(!chat.is_kept() && chat.answers.client_sends);

    let bad = Environment::of([
        ("TIDEWIRE_SERVER__LISTN", "127.0.0.1:2"),
        ("TIDEWIRE_SRVER__LISTEN", "127.0.0.1:2"),
        ("TIDEWIRE_AUTH__KEY", "x"),
        ("TIDEWIRE_FEATURE__CHAT__BINARY", "yes"),
    ]);
    let found = show(&parse(text, file, &bad).unwrap_err().problems);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].starts_with("TIDEWIRE_AUTH__KEY: auth.key: expected a list of tables"));
    assert!(found[1].starts_with("TIDEWIRE_FEATURE__CHAT__BINARY: feature.chat.binary: expected"));
    assert!(found[2].ends_with("unknown key; did you mean TIDEWIRE_SERVER__LISTEN?"), "{found:?}");
    assert!(found[3].contains("there is no such section; did you mean"), "{found:#?}");
}

#[test]
fn a_file_that_is_not_there_says_what_to_do() {
    let error = load(Path::new("/absent/tidewire.toml"), &Environment::none()).unwrap_err();
    assert!(error.to_string().starts_with("/absent/tidewire.toml: the config cannot be read"));
}

#[test]
fn dev_is_open_to_this_machine_only() {
    let settings = Settings::for_dev("127.0.0.1:4000".parse().unwrap(), "d".into());
    assert!(settings.features.is_open());
    assert!(settings.origins.allows("http://localhost:5173"));
    assert!(!settings.origins.allows("https://a.example"));
    let transport = |name| settings.features.named(name).unwrap().decision().transport;
    assert_eq!(transport("notifications"), Transport::Sse);
    assert_eq!(transport("chat"), Transport::Ws);
    assert_eq!(transport("board"), Transport::Sse);
    assert_eq!(transport("anything"), Transport::Sse);
}

#[test]
fn secrets_are_in_no_debug_output() {
    let text = format!(
        "[auth]\nsecret = \"{SECRET}\"\n[[auth.key]]\nname=\"b\"\nkey=\"{SECRET}\"\npublish=[\"**\"]"
    );
    assert!(!format!("{:?}", settings(&text)).contains(SECRET));
}

proptest::proptest! {
    #[test]
    fn a_damaged_config_is_answered_and_never_a_panic(
        at in 0_usize..400, length in 0_usize..12, piece in "[\\PC\n]{0,8}"
    ) {
        let mut text: Vec<char> = DAMAGED.chars().collect();
        let at = at.min(text.len());
        let end = (at + length).min(text.len());
        text.splice(at..end, piece.chars());
        let text: String = text.into_iter().collect();
        if let Err(error) = read(&text) {
            proptest::prop_assert!(!error.problems.is_empty());
        }
    }
}

const DAMAGED: &str = "[server]\nlisten = \"127.0.0.1:1\"\norigins = [\"https://a.example\"]\n\
    [auth]\nalgorithm = \"HS256\"\n[[auth.key]]\nname = \"b\"\npublish = [\"chat/*\"]\n\
    key = \"0123456789abcdef0123456789abcdef\"\n[limits]\nbeat_interval = \"20s\"\n\
    page_bytes_max = \"1MiB\"\n[feature.chat]\nproxies = true\nhistory = \"7d\"\n";

#[test]
fn an_app_that_decides_and_a_webhook_mean_what_they_say() {
    let hook = format!(
        "[[webhook]]\nname = \"search\"\nurl = \"https://a.example/hook\"\nsecret = \"{SECRET}\"\n\
         events = [\"published\", \"vacated\"]\ntopics = [\"chat/**\", \"dots/*\"]\n"
    );
    let text = format!(
        "[auth]\nauthorize_url = \"http://localhost:8080/who\"\n\
         authorize = [\"connect\", \"publish\"]\nauthorize_secret = \"{SECRET}\"\n\
         [[auth.key]]\nname = \"ops\"\nkey = \"abcdefghijklmnopqrstuvwxyz012345\"\nmanage = true\n\
         [feature.chat]\n[feature.dots]\nhistory = \"none\"\n{hook}"
    );
    let loaded = parse(&text, Path::new("t.toml"), &Environment::none()).unwrap();
    let Settings { auth, webhooks, .. } = &loaded.settings;
    let app = auth.authorize.as_ref().unwrap();
    assert_eq!(app.asks.words().collect::<Vec<_>>(), ["connect", "publish"]);
    assert_eq!((app.timeout.as_secs(), app.secret.reveal()), (2, SECRET));
    assert!(auth.keys[0].manage && auth.keys[0].grant.is_empty());
    let [webhook] = &webhooks[..] else { panic!("{webhooks:?}") };
    assert_eq!((webhook.name.as_str(), webhook.timeout.as_secs()), ("search", 10));
    assert_eq!(webhook.events, [Happening::Published, Happening::Vacated]);
    assert!(webhook.hears(Happening::Vacated) && !webhook.hears(Happening::Occupied));
    // What is not kept is not in the log that a webhook walks.
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.to_string().contains("nothing of `dots` is told"), "{warning}");
    let refusals = crate::config::refusals_to_serve(&loaded.settings);
    assert!(refusals.iter().all(|refusal| refusal.key != "auth.secret"), "{refusals:?}");
    let twice = format!("{text}{hook}");
    let error = parse(&twice, Path::new("t.toml"), &Environment::none()).unwrap_err();
    assert!(error.to_string().contains("two webhooks have this name"), "{error}");
}

#[test]
fn whatever_an_app_or_a_webhook_lacks_is_said_at_once() {
    for (text, part) in [
        (
            "[auth]\nauthorize_timeout = \"1s\"",
            "there is nobody to ask: `authorize_url` is missing",
        ),
        ("[auth]\nauthorize_url = \"https://a.example/\"", "auth.authorize: it is missing"),
        ("[auth]\nauthorize_url = \"https://a.example/\"", "auth.authorize_secret: it is missing"),
        ("[auth]\nauthorize_url = \"http://a.example/\"", "the app is not asked at `http:`"),
        (
            "[auth]\nauthorize_url = \"https://a.example/\"\nauthorize = [\"read\"]",
            "`read` is nothing that an app is asked",
        ),
        (
            "[auth]\nauthorize_url = \"https://a.example/\"\nauthorize_timeout = \"1m\"",
            "an answer has from 1ms to 30s",
        ),
        (
            "[auth]\nauthorize_url = \"https://a.example/\"\nauthorize_secret = \"short\"",
            "the secret has 5 bytes",
        ),
        ("[[webhook]]\nurl = \"https://a.example/\"", "webhook[0].name: it is missing"),
        ("[[webhook]]\nname = \"a/b\"", "`a/b` is not a name for a webhook"),
        ("[[webhook]]\nname = \"a\"", "webhook[0].url: it is missing"),
        ("[[webhook]]\nname = \"a\"", "webhook[0].secret: it is missing"),
        ("[[webhook]]\nname = \"a\"", "webhook[0].topics: it is missing"),
        ("[[webhook]]\nevents = [\"left\"]", "`left` is nothing that happens here"),
        ("[[webhook]]\nurl = \"http://a.example/\"", "nothing is told to `http:`"),
        ("[[webhook]]\ntimeout = \"1h\"", "an answer has from 1ms to 2m"),
        ("[[webhook]]\ntopics = [\"a*\"]", "is not a pattern of topics"),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|problem| problem.contains(part)), "{text}\n{found:#?}");
    }
}
