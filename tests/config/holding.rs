//! `[state]`, `[quota]` and `[roles]`: what their values mean together, and what is warned of.

use livy_gateway::authn::hash_password;
use livy_gateway::livy::Kind;
use livy_gateway::livy::json::StrictObject;
use livy_gateway::policy::Store;
use livy_gateway::quota::{Dimension, Groups, Use, resources};

use super::{HDINSIGHT, MINIMAL, Stage};

/// Every key of the three, none with its default.
pub(super) const FULL: &str = r#"
[state]
store = "file"
directory = "held"
reconcile = "11s"
in_doubt_hold = "7m"
ghosts = "keep"

[quota]
sessions = 0
batches = 1
cores = 2
memory = "3 TiB"

[quota.assumed]
driver_cores = 2
driver_memory = "2 GiB"
executors = 3
executor_cores = 4
executor_memory = "5 GiB"
unlimited_executors = 6
unreadable_cores = 7
unreadable_memory = "8 GiB"

[[quota.for]]
user = "airflow"
sessions = 9
batches = 10
cores = 11
memory = "12 GiB"

[[quota.for]]
members_of = "etl"
sessions = 0

[[quota.for]]
group = "analysts"
cores = 500

[[quota.for]]
everybody = true
batches = 13

[roles]
admin = ["user:ops", "group:livy-admins"]
operator = ["group:on-call"]
viewer = ["user:monitor"]
"#;

#[test]
fn a_state_that_could_let_too_much_through_or_forget_is_a_warning() {
    let stage = Stage::new();
    let warnings = |text: &str| stage.load(&format!("{MINIMAL}{text}")).warnings.join("\n");
    assert_eq!(warnings(""), "");
    assert!(warnings("[state]\nstore = \"memory\"\n").contains("forgets with each restart"));
    let said = warnings("[state]\nin_doubt_hold = \"89s\"\n");
    assert!(said.contains("is shorter than livy.timeouts.create"), "{said}");
}

#[test]
fn a_state_directory_is_relative_to_the_file_if_it_is_written() {
    let stage = Stage::new();
    let store = |text: &str| stage.load(&format!("{MINIMAL}{text}")).state.store;
    assert_eq!(
        store("[state]\ndirectory = \"held\"\n"),
        Store::File(stage.path("held"))
    );
    let Store::File(default) = store("") else {
        panic!("the default is a file")
    };
    assert!(default.is_absolute(), "{default:?}");
}

#[test]
fn operators_have_a_socket_in_the_state_directory_and_without_a_file_only_in_one_that_is_written() {
    let stage = Stage::new();
    let socket = |text: &str| {
        stage.load(&format!("{MINIMAL}{text}")).state.control.map(|path| {
            let name = path.file_name().unwrap().to_owned();
            (path.parent().unwrap().to_owned(), name)
        })
    };
    let here = |directory: &str| Some((stage.path(directory), "control.sock".into()));
    assert_eq!(socket("[state]\ndirectory = \"held\"\n"), here("held"));
    assert_eq!(
        socket("[state]\nstore = \"memory\"\ndirectory = \"run\"\n"),
        here("run")
    );
    assert_eq!(socket("[state]\nstore = \"memory\"\n"), None);
    assert!(socket("").is_some());
}

#[test]
fn the_socket_is_found_in_a_file_that_is_wrong_elsewhere() {
    let stage = Stage::new();
    let path = stage.path("wrong.toml");
    let find = |text: &str| {
        std::fs::write(&path, text).unwrap();
        livy_gateway::config::control_socket(&path)
    };
    let found = find("adress = 7\n[state]\ndirectory = \"held\"\nstroe = 1\n").unwrap();
    assert_eq!(found.path, Some(stage.path("held/control.sock")));
    assert!(!found.is_by_default);
    assert!(find("[livy]\n").unwrap().is_by_default);
    assert!(find("[state\n").is_err());
}

#[test]
fn groups_that_no_login_has_are_a_warning() {
    let stage = Stage::new();
    let rules = "[[quota.for]]\ngroup = \"analysts\"\ncores = 5\n[roles]\nadmin = [\"group:analysts\"]\n";
    assert_eq!(stage.load(&format!("{MINIMAL}{rules}")).warnings, [""; 0]);
    let hash = hash_password(b"a password of this test").unwrap();
    stage.put("users.htpasswd", &format!("alice:{hash}\n"), 0o600);
    let warnings = stage.load(&format!("{MINIMAL}{rules}")).warnings;
    assert!(
        warnings[0].starts_with("quota.for names groups") && warnings[1].starts_with("roles names groups"),
        "{warnings:?}"
    );
    let tokens = "[[jwt]]\nname = \"corp\"\nissuer = \"https://x/\"\naudience = [\"a\"]\nalgorithms = [\"ES256\"]\n\
        keys = { file = \"public.pem\" }\ngroups_claim = \"groups\"\n\
        [[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n";
    assert_eq!(stage.load(&format!("{MINIMAL}{tokens}{rules}")).warnings, [""; 0]);
    // A delegate for everybody reaches administrators whose groups only a token tells.
    let delegate =
        |whom: &str| format!("[[identity.delegate]]\nservice = \"basic:alice\"\nfor = [\"{whom}\"]\n");
    for (whom, is_told) in [("user:*", true), ("group:staff", true), ("user:carol", false)] {
        let warnings = stage
            .load(&format!("{MINIMAL}{tokens}{}{rules}", delegate(whom)))
            .warnings;
        let told = warnings
            .iter()
            .any(|warning| warning.starts_with("roles.admin has the group"));
        assert_eq!(told, is_told, "{whom}: {warnings:?}");
    }
}

#[test]
fn hdinsights_first_example_fits_into_its_file_and_not_into_the_default() {
    let stage = Stage::new();
    let body = br#"{"kind":"spark","driverMemory":"1G","driverCores":2,"executorMemory":"1G","executorCores":10,"numExecutors":10}"#;
    let asked = |text: &str| {
        let policy = stage.load(text);
        let subject = policy
            .authn
            .users
            .as_ref()
            .and_then(|users| users.verify("alice", b"a password of this test"))
            .unwrap();
        let principal = policy.identities.resolve(&subject.into()).unwrap();
        let body = StrictObject::parse(body).unwrap();
        let asked = resources(Kind::Session, &body, policy.quotas.assumed()).resources;
        let allowances = policy
            .quotas
            .allowances(principal.livy_user(), Groups::Known(principal.groups()))
            .unwrap();
        allowances
            .iter()
            .map(|allowance| allowance.limits.admits(&Use::default(), Kind::Session, asked))
            .collect::<Result<Vec<()>, _>>()
    };
    assert!(asked(HDINSIGHT).is_ok());
    assert!(asked(include_str!("../../deploy/hdinsight/gateway.toml")).is_ok());
    let exceeded = asked(MINIMAL).unwrap_err();
    assert_eq!(
        (exceeded.dimension, exceeded.asked, exceeded.limit),
        (Dimension::Cores, 102, 64)
    );
}

#[test]
fn names_that_nobody_has_where_the_gateways_own_files_decide_are_a_warning() {
    let stage = Stage::new();
    let rules = "[identity]\ngroups_file = \"groups\"\n[[identity.delegate]]\nservice = \"basic:zepelin\"\n\
                 for = [\"group:analyts\", \"group:analysts\"]\n[[quota.for]]\ngroup = \"analist\"\ncores = 5\n\
                 [roles]\nviewer = [\"group:viewrs\"]\n";
    let warnings = stage.load(&format!("{MINIMAL}{rules}")).warnings;
    for words in [
        "identity.delegate.service: basic:zepelin can log in nowhere",
        "identity.delegate.for: nobody is in the group \"analyts\"",
        "quota.for: nobody is in the group \"analist\"",
        "roles: nobody is in the group \"viewrs\"",
    ] {
        assert_eq!(
            warnings
                .iter()
                .filter(|warning| warning.starts_with(words))
                .count(),
            1,
            "{words}: {warnings:?}"
        );
    }
    assert_eq!(warnings.len(), 4, "{warnings:?}");
}
