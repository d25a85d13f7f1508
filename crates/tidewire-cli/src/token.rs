//! `tidewire token`: mints a token, for trying things out and for scripts.
//!
//! Puts together what `tidewire::token` mints from; an app's backend mints its own.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use serde_json::json;
use tidewire::{
    config::{
        self, Algorithm, AuthSettings, Secret, Verification,
        auth::{AUDIENCE_DEFAULT, SECRET_BYTES_MIN},
        units,
    },
    tidewire_core::{Grant, Limits},
    tidewire_proto::Pattern,
    token::{Claims, SigningKey, mint_with},
};

use crate::{io::Io, plan::write_json};

/// Mints a token.
///
/// The secret comes from --secret-file, from --config, or from TIDEWIRE_AUTH__SECRET. For RS256,
/// ES256 and EdDSA give --private-key-file and --algorithm (or --config, which names it).
#[derive(Debug, Default, clap::Args)]
pub(crate) struct TokenArgs {
    /// The file with the shared secret (HS256)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "private_key_file"])]
    pub(crate) secret_file: Option<PathBuf>,
    /// The config whose server the token is for: its secret, algorithm and audience
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The private key that signs, as PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) private_key_file: Option<PathBuf>,
    /// What the private key signs with: RS256, ES256 or EdDSA
    #[arg(long, value_name = "NAME", value_parser = algorithm, requires = "private_key_file")]
    pub(crate) algorithm: Option<Algorithm>,
    /// The name of the key in the server's key set (`kid`)
    #[arg(long, value_name = "NAME", requires = "private_key_file")]
    pub(crate) kid: Option<String>,
    /// Who bears the token; {sub} in a pattern stands for it
    #[arg(long, value_name = "NAME")]
    pub(crate) sub: Option<String>,
    /// What the token is called (`jti`): by this it can be taken back alone
    #[arg(long, value_name = "NAME")]
    pub(crate) jti: Option<String>,
    /// Topics that may be read: a pattern such as 'chat/**'; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub(crate) subscribe: Vec<Pattern>,
    /// Topics that may be published to: a pattern such as 'chat/*'; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub(crate) publish: Vec<Pattern>,
    /// How long the token is good: 30s, 5m, 12h, 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = time_to_live)]
    pub(crate) ttl: Duration,
    /// The server that the token is for (the claim `aud`) [default: the config's, or "tidewire"]
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Option<String>,
    /// Answer as JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text)
        .filter(|algorithm| *algorithm != Algorithm::HS256)
        .ok_or_else(|| "a private key signs with RS256, ES256 or EdDSA".to_owned())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

fn time_to_live(text: &str) -> Result<Duration, String> {
    let read = units::duration(text)
        .map_err(|error| format!("{error}: write a duration such as 30s, 5m, 12h or 7d"))?;
    // Tokens count in whole seconds: less than one would have expired when it is minted.
    if read < Duration::from_secs(1) {
        return Err("a token lives for a second or more".to_owned());
    }
    Ok(read)
}

/// Runs the command.
///
/// # Errors
/// When there is no key to sign with, or it cannot be read or does not fit.
pub(crate) fn run(args: &TokenArgs, io: &mut Io<'_>) -> anyhow::Result<ExitCode> {
    let auth = auth_settings(args, io)?;
    let key = signing_key(args, auth.as_ref())?;
    let audience = args.audience.clone().or(auth.map(|auth| auth.audience));
    let ttl_ms = u64::try_from(args.ttl.as_millis()).context("the time to live is too long")?;
    let claims = Claims {
        subject: args.sub.clone(),
        audience: audience.unwrap_or_else(|| AUDIENCE_DEFAULT.to_owned()),
        expires_at_ms: io.now_ms.saturating_add(ttl_ms),
        grant: Grant { subscribe: args.subscribe.clone(), publish: args.publish.clone() },
        issued_at_ms: Some(io.now_ms),
        id: args.jti.clone(),
    };
    let token = mint_with(&key, args.kid.as_deref(), &claims)?;
    warn(&claims, &token, io.errors)?;
    if args.json {
        let texts = |patterns: &[Pattern]| -> Vec<String> {
            patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()
        };
        let value = json!({
            "token": token,
            "subject": claims.subject,
            "audience": claims.audience,
            "id": claims.id,
            "expires_at_ms": claims.expires_at_ms,
            "subscribe": texts(&claims.grant.subscribe),
            "publish": texts(&claims.grant.publish),
        });
        write_json(&value, io.output)?;
    } else {
        writeln!(io.output, "{token}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn warn(claims: &Claims, token: &str, errors: &mut dyn Write) -> anyhow::Result<()> {
    if claims.grant.is_empty() {
        writeln!(errors, "warning: the token grants nothing: add --subscribe or --publish")?;
    }
    let bytes_max = Limits::default().token_bytes_max;
    if token.len() > bytes_max {
        let bytes = token.len();
        writeln!(
            errors,
            "warning: the token has {bytes} bytes and a server reads at most {bytes_max} unless \
             its limits.token_bytes_max says more: grant fewer or wider patterns"
        )?;
    }
    Ok(())
}

/// The `[auth]` of the server that the token is for, if the command names it.
fn auth_settings(args: &TokenArgs, io: &Io<'_>) -> anyhow::Result<Option<AuthSettings>> {
    if args.secret_file.is_some() {
        return Ok(None);
    }
    let loaded = match &args.config {
        Some(file) => config::load(file, &io.environment),
        None => config::from_environment(&io.environment),
    };
    Ok(Some(loaded?.settings.auth))
}

fn signing_key(args: &TokenArgs, auth: Option<&AuthSettings>) -> anyhow::Result<SigningKey> {
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
    };
    if let Some(file) = &args.private_key_file {
        let configured = auth.map(|auth| auth.algorithm).filter(|_| args.config.is_some());
        let Some(algorithm) = args.algorithm.or(configured) else {
            bail!("say what the key signs with: --algorithm RS256, ES256 or EdDSA");
        };
        return SigningKey::private_key(algorithm, &read(file)?).with_context(|| {
            format!("{} is not a private key for {}", file.display(), algorithm.as_str())
        });
    }
    if let Some(file) = &args.secret_file {
        let secret = Secret::in_file(&read(file)?);
        if secret.len() < SECRET_BYTES_MIN {
            bail!(
                "the secret in {} has {} bytes: a server takes {SECRET_BYTES_MIN} or more",
                file.display(),
                secret.len()
            );
        }
        return Ok(SigningKey::secret(&secret));
    }
    match auth.and_then(|auth| auth.verification.as_ref()) {
        Some(Verification::Secret(secret)) => Ok(SigningKey::secret(secret)),
        Some(_) => bail!(
            "this server checks tokens with a public key: give the private one with \
             --private-key-file"
        ),
        None => bail!(
            "there is nothing to sign with: give --secret-file, a --config with a secret, or set \
             TIDEWIRE_AUTH__SECRET"
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;
    use tidewire::config::Environment;

    use super::*;
    use crate::io::tests::{Written, with};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        token: TokenArgs,
    }

    fn read(words: &[&str]) -> Result<TokenArgs, clap::Error> {
        Line::try_parse_from([&["token"], words].concat()).map(|line| line.token)
    }

    fn minted(words: &[&str], environment: Environment) -> (anyhow::Result<ExitCode>, Written) {
        let args = read(words).unwrap();
        with("", |io| {
            io.environment = environment;
            run(&args, io)
        })
    }

    fn claims(token: &str) -> Value {
        jwt_part(token, 1)
    }

    fn jwt_part(token: &str, part: usize) -> Value {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let bytes = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(part).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_token_says_what_the_flags_say() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, format!("{SECRET}\n")).unwrap();
        let words = [
            "--secret-file",
            file.to_str().unwrap(),
            "--sub",
            "alice",
            "--subscribe",
            "chat/**",
            "--subscribe",
            "notifications/{sub}",
            "--publish",
            "chat/*",
            "--ttl",
            "2h",
        ];
        let (result, written) = minted(&words, Environment::none());
        result.unwrap();
        assert_eq!(written.errors, "");
        let claims = claims(&written.output);
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["aud"], "tidewire");
        assert_eq!(claims["exp"], 1_000 + 7_200);
        assert_eq!(claims["tidewire"]["subscribe"], json!(["chat/**", "notifications/{sub}"]));
        assert_eq!(claims["tidewire"]["publish"], json!(["chat/*"]));
        let (_, written) = minted(&[&words[..], &["--json"]].concat(), Environment::none());
        let value: Value = serde_json::from_str(&written.output).unwrap();
        assert_eq!(value["expires_at_ms"], 8_200_000);
    }

    #[test]
    fn the_config_or_the_environment_has_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.toml");
        let text = format!("[auth]\nsecret = \"{SECRET}\"\naudience = \"mine\"\n");
        std::fs::write(&file, text).unwrap();
        let words = ["--config", file.to_str().unwrap(), "--publish", "**"];
        let (result, written) = minted(&words, Environment::none());
        result.unwrap();
        assert_eq!(claims(&written.output)["aud"], "mine");
        let environment = Environment::of([("TIDEWIRE_AUTH__SECRET", SECRET)]);
        let (result, written) = minted(&[], environment);
        result.unwrap();
        assert!(written.errors.contains("the token grants nothing"));
    }

    #[test]
    fn without_a_key_the_command_says_what_to_give() {
        let folder = tempfile::tempdir().unwrap();
        let short = folder.path().join("short");
        std::fs::write(&short, "short\n").unwrap();
        for (words, part) in [
            (vec![], "there is nothing to sign with"),
            (vec!["--secret-file", "/absent"], "/absent cannot be read"),
            (vec!["--secret-file", short.to_str().unwrap()], "has 5 bytes"),
            (vec!["--private-key-file", "/absent"], "say what the key signs with"),
            (vec!["--config", "/absent.toml"], "the config cannot be read"),
        ] {
            let (result, written) = minted(&words, Environment::none());
            assert!(format!("{:#}", result.unwrap_err()).contains(part), "{words:?}");
            assert!(written.output.is_empty());
        }
    }

    #[test]
    fn flags_that_cannot_be_meant_are_refused() {
        for words in [
            ["--ttl", "0s"],
            ["--ttl", "soon"],
            ["--subscribe", "a*"],
            ["--algorithm", "HS256"],
            ["--kid", "x"],
        ] {
            assert!(read(&words).is_err(), "{words:?}");
        }
        assert_eq!(read(&[]).unwrap().ttl, Duration::from_secs(3_600));
    }
}
