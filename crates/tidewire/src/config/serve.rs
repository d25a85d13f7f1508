//! What `serve` and `dev` refuse to start with. Pure functions of the settings.
//!
//! Invariant: each refusal says exactly what to write, and where.

use super::{
    Settings,
    problem::{Place, Problem},
};

/// Why `tidewire serve` does not start with these settings. Empty: it does.
#[must_use]
pub fn refusals_to_serve(settings: &Settings) -> Vec<Problem> {
    let place = Place::of_file(settings.file.as_ref());
    let mut refusals = Vec::new();
    let is_app_asked = settings.auth.authorize.as_ref().is_some_and(|app| app.asks.connect);
    if settings.auth.verification.is_none() && !is_app_asked {
        let refusal =
            Problem::new(place.clone(), "auth.secret", "there is no way to check a token")
                .because(
                    "without one, anybody who reaches the port could read and publish everything",
                )
                .fix(
                    "write secret_file = \"secret\" in [auth] and put 32 random bytes or more into \
                 that file (or set TIDEWIRE_AUTH__SECRET); or name a public_key_file or a jwks_url; or let your app decide with an authorize_url",
                );
        refusals.push(refusal);
    }
    if settings.origins.is_empty() {
        let refusal = Problem::new(place, "server.origins", "no web page may connect")
            .because(
                "WebSocket is outside the same-origin policy, so origins are closed until listed",
            )
            .fix(
                "write origins = [\"https://app.example.com\"] in [server], with the origin of \
                 your own pages (or set TIDEWIRE_SERVER__ORIGINS)",
            );
        refusals.push(refusal);
    }
    refusals
}

/// Why `tidewire dev` does not start with these settings. Empty: it does.
#[must_use]
pub fn refusals_to_dev(settings: &Settings) -> Vec<Problem> {
    if settings.listen.ip().is_loopback() {
        return Vec::new();
    }
    let what = format!("`tidewire dev` does not listen on {}", settings.listen);
    let refusal = Problem::new(Place::of_file(settings.file.as_ref()), "server.listen", what)
        .because("it lets everybody do everything, so it must not be reached from elsewhere")
        .fix("listen on 127.0.0.1, or use `tidewire serve` with a secret and origins");
    vec![refusal]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, Secret, Verification};

    fn keys(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.key.as_str()).collect()
    }

    fn closed() -> Settings {
        let mut settings = Settings::for_dev("127.0.0.1:4000".parse().unwrap(), "d".into());
        settings.origins.loopback = false;
        settings.file = Some("tidewire.toml".into());
        settings
    }

    #[test]
    fn serve_needs_a_secret_and_origins() {
        let mut settings = closed();
        assert_eq!(keys(&refusals_to_serve(&settings)), ["auth.secret", "server.origins"]);
        let text = refusals_to_serve(&settings)[0].to_string();
        assert!(text.starts_with("tidewire.toml: auth.secret: "), "{text}");
        settings.auth.verification = Some(Verification::Secret(Secret::new("s".repeat(32))));
        assert_eq!(keys(&refusals_to_serve(&settings)), ["server.origins"]);
        settings.origins.listed = vec![Origin::parse("https://a.example").unwrap()];
        assert!(refusals_to_serve(&settings).is_empty());
    }

    #[test]
    fn dev_stays_on_this_machine() {
        let mut settings = closed();
        for (listen, refusals) in
            [("127.0.0.1:1", 0), ("[::1]:1", 0), ("0.0.0.0:1", 1), ("192.0.2.1:1", 1)]
        {
            settings.listen = listen.parse().unwrap();
            assert_eq!(refusals_to_dev(&settings).len(), refusals, "{listen}");
        }
    }
}
