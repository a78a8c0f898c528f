//! Every shipped configuration loads; every bad one gives the text beside it; the documents name every key.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::KeyPair;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use livy_gateway::authn::hash_password;
use livy_gateway::config::{self, keys};
use tempfile::TempDir;

#[path = "config/bad.rs"]
mod bad;
#[path = "config/certificates.rs"]
mod certificates;
#[path = "config/holding.rs"]
mod holding;
#[path = "config/jwt.rs"]
mod jwt;
#[path = "config/logins.rs"]
mod logins;

use certificates::client_authorities;

const REFERENCE: &str = include_str!("../config/gateway.toml");
const MINIMAL: &str = include_str!("../config/minimal.toml");
const HDINSIGHT: &str = include_str!("../config/hdinsight.toml");
const GUIDE: &str = include_str!("../docs/configuration.md");

/// A folder with every file that a configuration may name, made anew for each test.
struct Stage {
    directory: TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let hash = hash_password(b"a password of this test").unwrap();
        stage.put(
            "users.htpasswd",
            &format!("alice:{hash}:analysts\nzeppelin:{hash}\n"),
            0o600,
        );
        stage.put("empty.htpasswd", "# nobody yet\n", 0o600);
        stage.put("damaged.htpasswd", "alice\n", 0o600);
        logins::stage(&stage, &hash);
        stage.put("open.htpasswd", &format!("alice:{hash}\n"), 0o666);
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        stage.put("tls.crt", &own.cert.pem(), 0o644);
        stage.put("tls.key", &own.signing_key.serialize_pem(), 0o600);
        stage.put("other.key", &other.signing_key.serialize_pem(), 0o600);
        stage.put(
            "encrypted.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            0o600,
        );
        stage.put("livy-ca.pem", &own.cert.pem(), 0o644);
        client_authorities(&stage);
        stage.put("ldap-ca.pem", &own.cert.pem(), 0o644);
        stage.put("groups", "analysts: alice\n", 0o600);
        stage.put("bad.groups", "analysts alice\nstaff: bob\n: carol\n", 0o600);
        stage.put("ldap.password", "of this test\n", 0o600);
        stage.put("lab-ca.pem", &own.cert.pem(), 0o644);
        stage.put("public.pem", &own.signing_key.public_key_pem(), 0o644);
        stage.put("jwks.json", &key_set(), 0o644);
        stage.put("hmac.key", &uuid::Uuid::now_v7().simple().to_string(), 0o600);
        stage.put(
            "admin.token",
            &format!("{}\n", uuid::Uuid::now_v7().simple()),
            0o600,
        );
        stage.put("livy.password", "of this test\n", 0o600);
        stage.put("short.key", "short\n", 0o600);
        stage.put("nothing.key", "\n", 0o600);
        stage.put("spaced.token", "two words\n", 0o600);
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// The effective configuration of this text, or the panic that shows its problems.
    #[track_caller]
    fn effective(&self, text: &str) -> String {
        let path = self.put("gateway.toml", text, 0o644);
        config::effective(&path).unwrap_or_else(|report| panic!("{report}"))
    }

    #[track_caller]
    fn load(&self, text: &str) -> livy_gateway::policy::Policy {
        let path = self.put("gateway.toml", text, 0o644);
        config::load(&path, 7).unwrap_or_else(|report| panic!("{report}"))
    }

    /// The report on this text, with the folder's name taken out.
    #[track_caller]
    fn report(&self, name: &str, text: &str) -> String {
        let path = self.put(name, text, 0o644);
        let report = config::load(&path, 0).expect_err("the configuration is bad");
        let folder = format!("{}/", self.directory.path().display());
        format!("{report}\n").replace(&folder, "")
    }
}

/// A JWK set with one RSA key.
fn key_set() -> String {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let public: &rsa::PublicKey = pair.public_key();
    // RSAPublicKey in DER: two headers and a zero byte, 256 bytes of modulus, the exponent 65537.
    let modulus = URL_SAFE_NO_PAD.encode(&public.as_ref()[9..265]);
    format!(
        r#"{{"keys":[{{"kty":"RSA","kid":"one","use":"sig","alg":"RS256","n":"{modulus}","e":"AQAB"}}]}}"#
    )
}

/// The reference with the examples that stand in it as comments, for a Livy with TLS, so that `ca_file` makes sense.
fn with_examples(text: &str) -> String {
    let bare = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with([' ', '-']) => format!("{setting}\n"),
        Some(_) | None => format!("{line}\n"),
    };
    text.replace("url = \"http:", "url = \"https:")
        .lines()
        .map(bare)
        .collect()
}

fn without_notes(effective: &str) -> String {
    effective.replace("  # default", "")
}

#[test]
fn the_minimal_file_loads() {
    let stage = Stage::new();
    let policy = stage.load(MINIMAL);
    assert_eq!(policy.generation, 7);
    assert_eq!(policy.listeners.len(), 1);
    assert_eq!(policy.authn.users.as_ref().unwrap().len(), 2);
    assert_eq!(policy.insecure, [""; 0]);
    assert_eq!(policy.files, [stage.path("users.htpasswd")]);
}

#[test]
fn the_reference_says_the_built_in_defaults() {
    let stage = Stage::new();
    assert_eq!(
        without_notes(&stage.effective(REFERENCE)),
        without_notes(&stage.effective(MINIMAL))
    );
    assert!(
        !stage
            .effective(REFERENCE)
            .contains("url = \"http://127.0.0.1:8998\"  # default")
    );
}

#[test]
fn the_examples_in_the_reference_load_too() {
    let stage = Stage::new();
    let policy = stage.load(&with_examples(REFERENCE));
    assert_eq!(policy.authn.issuers.len(), 4);
    assert!(
        policy.listeners[0].tls.is_some()
            && policy.admin.token.is_some()
            && policy.jwks_tls.contains_key("corp")
    );
}

#[test]
fn the_file_for_hdinsights_place_serves_livy_on_443_with_tls_and_basic() {
    let policy = Stage::new().load(HDINSIGHT);
    let listener = &policy.listeners[0];
    assert_eq!(listener.address, "0.0.0.0:443".parse().unwrap());
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!(tls.alpn_protocols, [b"http/1.1".to_vec()]);
    assert!(policy.authn.users.is_some());
    assert_eq!(policy.insecure, [""; 0]);
}

#[test]
fn the_file_of_the_hdinsight_guide_loads() {
    Stage::new().load(include_str!("../deploy/hdinsight/gateway.toml"));
}

#[test]
fn what_show_prints_is_a_configuration_that_means_the_same() {
    let stage = Stage::new();
    for text in [
        MINIMAL.to_owned(),
        HDINSIGHT.to_owned(),
        with_examples(REFERENCE),
        full(),
    ] {
        let shown = stage.effective(&text);
        assert_eq!(without_notes(&stage.effective(&shown)), without_notes(&shown));
    }
}

#[test]
fn show_says_every_key_that_was_written_and_no_secret() {
    let stage = Stage::new();
    let text = full();
    let shown = stage.effective(&text);
    for line in text
        .lines()
        .filter(|line| line.contains(" = ") && !line.contains('{'))
    {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert!(shown.contains("password = \"file:livy.password\"") && shown.contains("kind = \"basic\""));
    assert!(!shown.contains("of this test"));
}

/// Every key, none with its default.
fn full() -> String {
    r#"allow_plain_http = true

[[listen]]
address = "0.0.0.0:8080"
base_paths = ["/livy", "/gateway/default/livy/v1"]
allow_plain_http = true
max_connections = 7

[[listen]]
address = "0.0.0.0:8443"
client_ca_file = "clients-ca.pem"
client_certificates = "required"
client_crl_file = "revoked.pem"

[listen.tls]
certificate_file = "tls.crt"
key_file = "tls.key"

[admin]
address = "0.0.0.0:9464"
allow_remote = true
token = "file:admin.token"

[livy]
url = "https://livy.internal:8998/below"
ca_file = "livy-ca.pem"
impersonate = "doAs"
impersonation = "off"
allow_shared_livy_user = true
authenticate = { kind = "basic", user = "gw", password = "file:livy.password" }
creations_at_once = 3

[livy.timeouts]
connect = "4s"
read = "31s"
create = "50s"
delete = "3m"

[basic]
users_file = "users.htpasswd"
realm = "Spark at home"
allow_weak_hashes = true

[certificate]
subject = "san_uri"

[identity]
also_reserved = ["etl-root"]

[[identity.map]]
from = "jwt:corp"
subject = '(?<name>[a-z]+)@example\.org'
livy_user = "${name}"

[[identity.map]]
from = "basic"
livy_user = "${subject}"

[[identity.delegate]]
service = "basic:zeppelin"
for = ["group:analysts", "user:carol"]
from_addresses = ["10.1.0.0/16", "192.0.2.7"]

[limits.per_address]
rate = "7/s"
burst = 8

[limits.failed_logins]
per_address = "9/min"
per_address_and_account = "4/h"

[requests]
max_body = "2 MiB"
max_upload = "3 GiB"
extra_fields = ["ttl"]
file_schemes = ["file", "s3a"]
max_ttl = "12h"

[requests.conf]
mode = "allow-listed"
also_deny = ["spark.yarn.queue", "spark.sql.hive.*"]
allow = ["spark.sql.*"]
allow_unsafe = ["spark.jars.packages"]

[requests.conf.default]
"spark.executor.memory" = "2g"
"spark.speculation" = true

[requests.conf.force]
"spark.yarn.queue" = "tenants.${primary_group}"

[requests.conf.max]
"spark.executor.instances" = 20
"spark.executor.memory" = "16g"

[log]
format = "text"
audit_file = "audit.jsonl"
"#
    .to_owned()
        + jwt::FULL
        + holding::FULL
        + logins::FULL
}

#[test]
fn each_insecure_setting_is_said() {
    let stage = Stage::new();
    let insecure = stage.load(&full()).insecure.join("\n");
    for words in [
        "0.0.0.0:8080 in plain HTTP",
        "the admin listener on 0.0.0.0:9464",
        "runs as Livy's own user",
        "creations may name files of Livy's own host",
        "creations may set spark.jars.packages",
        "may hold weak hashes (basic.allow_weak_hashes), and holds none",
        "the ID tokens of jwt:corp log in here",
    ] {
        assert!(insecure.contains(words), "{words} is not in\n{insecure}");
    }
    assert!(!insecure.contains("0.0.0.0:8443"), "{insecure}");
}

#[test]
fn a_hasty_creation_timeout_is_a_warning() {
    let warnings = Stage::new().load(&full()).warnings;
    assert!(
        warnings[0].contains("livy.timeouts.create = \"50s\" is short"),
        "{warnings:?}"
    );
}

#[test]
fn plain_http_to_a_distant_livy_is_insecure_and_loads() {
    let policy = Stage::new().load(&MINIMAL.replace("127.0.0.1:8998", "livy.internal:8998"));
    assert!(
        policy.insecure[0].contains("http://livy.internal:8998 in plain HTTP"),
        "{:?}",
        policy.insecure
    );
}

#[test]
fn a_token_in_the_environment_is_taken() {
    // The one variable that cargo always sets for a test; its value could be a token.
    let text = format!("{MINIMAL}\n[admin]\ntoken = \"env:CARGO_PKG_NAME\"\n");
    assert!(Stage::new().load(&text).admin.token.is_some());
}

#[test]
fn the_gateways_own_password_is_sent_as_basic_and_never_printed() {
    use livy_gateway::rewrite::UpstreamLogin;
    let policy = Stage::new().load(&full());
    let UpstreamLogin::Basic(header) = &policy.livy.endpoint.login else {
        panic!("{:?}", policy.livy.endpoint.login);
    };
    assert_eq!(
        header.to_str().unwrap(),
        format!("Basic {}", STANDARD.encode("gw:of this test"))
    );
    assert!(header.is_sensitive());
    let printed = format!("{policy:?}");
    assert!(!printed.contains(&STANDARD.encode("gw:of this test")) && !printed.contains("of this test"));
}

#[test]
fn the_gateways_own_account_is_reserved() {
    let stage = Stage::new();
    let text = MINIMAL.replace(
        "[basic]",
        "authenticate = { kind = \"simple\", user = \"alice\" }\n[basic]",
    );
    let policy = stage.load(&text);
    let map = format!("{policy:?}");
    assert!(map.contains("alice"), "{map}");
    let report = stage.report(
        "own.toml",
        &format!("{text}\n[[identity.map]]\nfrom = \"any\"\nlivy_user = \"alice\"\n"),
    );
    assert!(
        report.contains("alice") && report.contains("reserved"),
        "{report}"
    );
}

#[test]
fn a_literal_secret_is_shown_nowhere() {
    let stage = Stage::new();
    for (key, written) in [
        ("token", "[admin]\ntoken = \"open-sesame\"\n"),
        ("token", "[admin]\ntoken = 'open-sesame' # as said\n"),
        ("token", "[admin]\ntoken = [\"open-sesame\"]\n"),
        ("broken", "[admin]\ntoken = \"open-sesame\n"),
        (
            "password",
            "[admin]\naddress = \"127.0.0.1:9464\"\n[livy.authenticate]\nkind = \"none\"\npassword = \"open-sesame\"\n",
        ),
        (
            "url",
            "[[jwt]]\nkeys = { url = \"https://gw:open-sesame@example.org/\" }\n",
        ),
    ] {
        let report = stage.report("secret.toml", &format!("{MINIMAL}{written}"));
        assert!(!report.contains("open-sesame"), "{key}: {report}");
    }
}

#[test]
fn every_key_is_explained_in_the_reference_and_in_the_guide() {
    for table in keys::TABLES {
        for key in table.known {
            let heading = format!("`{}`", table.path_of(key));
            assert!(
                GUIDE.contains(&heading),
                "docs/configuration.md does not explain {heading}"
            );
            assert!(
                mentions(REFERENCE, key),
                "config/gateway.toml does not show {heading}"
            );
        }
    }
}

#[test]
fn every_key_of_a_later_version_is_refused_by_name() {
    let stage = Stage::new();
    for table in keys::TABLES {
        for key in table.later {
            let report = stage.report("later.toml", &placed(table.table, key));
            let path = table.path_of(key);
            assert!(
                report.contains(&format!(
                    "error: `{path}` is not supported by this version yet; remove it"
                )),
                "{report}"
            );
        }
    }
}

/// A file that has this key in that table and little else.
fn placed(table: &str, key: &str) -> String {
    match table {
        "" => format!("{key} = 1\n"),
        "jwt.keys" => format!("[[jwt]]\n[jwt.keys]\n{key} = true\n"),
        "jwt" => format!("[[jwt]]\n{key} = 1\n"),
        _ => format!("[{table}]\n{key} = 1\n"),
    }
}

/// Whether a text has a word, with no letter around it.
fn mentions(text: &str, word: &str) -> bool {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .any(|found| found == word)
}

#[test]
fn a_file_that_ends_anywhere_gives_a_policy_or_a_report() {
    let stage = Stage::new();
    let whole = format!("# h\u{fc}ben und dr\u{fc}ben \u{1f980}\n{}", full());
    let mut reports = 0;
    for end in (0..whole.len())
        .step_by(5)
        .filter(|end| whole.is_char_boundary(*end))
    {
        let path = stage.put("cut.toml", &whole[..end], 0o644);
        match config::load(&path, 0) {
            Ok(policy) => assert!(policy.authn.users.is_some()),
            Err(report) => {
                reports += 1;
                assert!(
                    !report.is_empty() && report.render(true).contains("cut.toml"),
                    "{end}"
                );
            }
        }
    }
    assert!(reports > 100, "{reports}");
}

#[test]
fn a_file_without_any_one_of_its_lines_gives_a_policy_or_a_report() {
    let stage = Stage::new();
    let whole = full();
    for place in 0..whole.lines().count() {
        let kept: Vec<_> = whole
            .lines()
            .enumerate()
            .filter(|(at, _)| *at != place)
            .map(|(_, line)| line)
            .collect();
        let path = stage.put("cut.toml", &kept.join("\n"), 0o644);
        if let Err(report) = config::load(&path, 0) {
            assert!(report.to_string().contains("problem"), "line {place}");
        }
    }
}
