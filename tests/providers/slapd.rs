//! A real OpenLDAP server on loopback, with people, groups and certificates made for one test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::rig;

/// A server; it ends when dropped.
pub(crate) struct Slapd {
    folder: TempDir,
    password: String,
    child: Child,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    /// What its own log says about requests.
    said: Arc<Mutex<Vec<String>>>,
}

/// Below it lies everything.
pub(crate) const BASE: &str = "dc=example,dc=org";
pub(crate) const ACCOUNT: &str = "cn=gateway,dc=example,dc=org";

impl Slapd {
    /// A server with alice, bob and others; everybody's password is `password`, and so is the gateway's account's.
    pub(crate) fn start(password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key, authority) = rig::certificate();
        for (name, content) in [("ldap.pem", chain), ("ldap.key", key), ("ca.pem", authority)] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        fs::create_dir(folder.path().join("db")).unwrap();
        let (port, tls_port) = (free_port(), free_port());
        let mut server = Self {
            child: start_program(folder.path(), port, tls_port, password),
            password: password.to_owned(),
            said: Arc::default(),
            folder,
            port,
            tls_port,
        };
        server.listen_to_its_log();
        server.wait_until_it_answers();
        server.add(&people(password));
        server
    }

    /// Starts it again, with what it held.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = start_program(self.folder.path(), self.port, self.tls_port, &self.password);
        self.listen_to_its_log();
        self.wait_until_it_answers();
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// `STOP`: it holds its connections and says nothing more. `CONT`: it goes on.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    pub(crate) fn authority(&self) -> String {
        fs::read_to_string(self.folder.path().join("ca.pem")).unwrap()
    }

    /// How often somebody tried to bind with a DN that begins so.
    pub(crate) fn binds(&self, dn: &str) -> usize {
        let wanted = format!("BIND dn=\"{dn}");
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // A bind that succeeds is told of twice; the second line has its mechanism.
        said.iter()
            .filter(|line| line.contains(&wanted) && line.contains("method="))
            .count()
    }

    /// Everything it was asked.
    pub(crate) fn log(&self) -> String {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }

    /// Changes entries, as LDIF says.
    pub(crate) fn modify(&self, ldif: &str) {
        self.tool("ldapmodify", ldif);
    }

    fn add(&self, ldif: &str) {
        // Over the wire: slapadd would not fill memberOf.
        self.tool("ldapadd", ldif);
    }

    fn tool(&self, program: &str, ldif: &str) {
        let mut child = Command::new(program)
            .args(["-x", "-H", &format!("ldap://127.0.0.1:{}", self.port)])
            .args(["-D", &format!("cn=admin,{BASE}"), "-w", &self.password])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be started ({error}): {MISSING}"));
        child.stdin.take().unwrap().write_all(ldif.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn listen_to_its_log(&mut self) {
        let lines = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let said = Arc::clone(&self.said);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
    }

    fn wait_until_it_answers(&self) {
        for _ in 0..1000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("slapd does not answer: {}", self.log());
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start_program(folder: &Path, port: u16, tls_port: u16, password: &str) -> Child {
    let here = folder.display();
    let config = format!(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
         moduleload memberof\nTLSCertificateFile {here}/ldap.pem\nTLSCertificateKeyFile {here}/ldap.key\n\
         TLSCACertificateFile {here}/ca.pem\ndatabase mdb\nsuffix {BASE}\nrootdn cn=admin,{BASE}\n\
         rootpw {password}\ndirectory {here}/db\nmaxsize 67108864\ndbnosync\nindex objectClass,uid,member eq\n\
         overlay memberof\naccess to attrs=userPassword by anonymous auth by * none\n\
         access to * by dn.exact={ACCOUNT} read by self read by users read by * none\n"
    );
    fs::write(folder.join("slapd.conf"), config).unwrap();
    Command::new("/usr/sbin/slapd")
        .args(["-d", "stats", "-f"])
        .arg(folder.join("slapd.conf"))
        .args([
            "-h",
            &format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("slapd cannot be started ({error}): {MISSING}"))
}

fn people(password: &str) -> String {
    let mut ldif = format!(
        "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n\
         dn: {ACCOUNT}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: gateway\n\
         userPassword: {password}\n\n"
    );
    for unit in ["people", "contractors", "groups"] {
        ldif += &format!("dn: ou={unit},{BASE}\nobjectClass: organizationalUnit\nou: {unit}\n\n");
    }
    for (unit, uid) in [
        ("people", "alice"),
        ("people", "bob"),
        ("people", "zeppelin"),
        ("people", "twin"),
        ("contractors", "twin"),
        ("people", "triplet"),
        ("contractors", "triplet"),
        ("groups", "triplet"),
    ] {
        ldif += &person(unit, uid, password);
    }
    // A group in the wrong place: who may write there must not become an administrator here.
    for (unit, group, members) in [
        ("groups", "analysts", &["alice", "bob"][..]),
        ("groups", "staff", &["alice"]),
        ("contractors", "livy-admins", &["bob"]),
    ] {
        ldif += &format!("dn: cn={group},ou={unit},{BASE}\nobjectClass: groupOfNames\ncn: {group}\n");
        for member in members {
            ldif += &format!("member: uid={member},ou=people,{BASE}\n");
        }
        ldif.push('\n');
    }
    ldif
}

/// An entry.
pub(crate) fn person(unit: &str, uid: &str, password: &str) -> String {
    format!(
        "dn: uid={uid},ou={unit},{BASE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n\
         userPassword: {password}\n\n"
    )
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

const MISSING: &str = "run deploy/demo/packages slapd slapd ldap-utils, or make providers";
