//! What an init system sees: readiness, the log, and units that systemd accepts.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::process::{finish, limited, run};
use crate::harness::{Workspace, requirements, run_dir};

/// A unit's text with the binary of this build in it.
fn unit(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a unit");
    let binary = run_dir::binary().to_str().expect("ASCII");
    text.replace("/usr/bin/branchfs", binary)
}

#[test]
fn systemd_accepts_every_unit() {
    let ws = Workspace::build().unmounted();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    for (folder, mode) in [("", "--system"), ("system", "--system"), ("user", "--user")] {
        for entry in fs::read_dir(units.join(folder)).expect("list the units") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                continue;
            }
            let name = path.file_name().expect("a name");
            let copy = ws.scratch().mkdir("units").root().join(name);
            fs::write(&copy, unit(&path)).expect("write a unit");
            let mut verify = limited("systemd-analyze");
            verify
                .args([mode, "verify", "--man=no"])
                .arg(&copy)
                .env("XDG_RUNTIME_DIR", ws.scratch().mkdir("runtime").root())
                .current_dir("/");
            let done = finish(verify).ok();
            assert_eq!(done.err, "", "{}", path.display());
        }
    }
}

#[test]
fn a_service_manager_is_told_when_the_mount_answers_and_when_it_ends() {
    let ws = Workspace::build().unmounted();
    let socket = ws.scratch().path("notify");
    let manager = UnixDatagram::bind(&socket).expect("bind a socket");
    let mut args = ws.mount_args();
    args.push("--foreground".to_owned());
    let mut daemon = Command::new(run_dir::binary())
        .args(args)
        .env("NOTIFY_SOCKET", &socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start branchfs");
    let hear = || {
        let mut text = [0; 4096];
        let length = manager.recv(&mut text).expect("a datagram");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let said = hear();
    assert!(said.lines().any(|line| line == "READY=1"), "{said}");
    assert!(ws.main().exists(".ctl"), "it does not answer yet");
    ws.branchfs(&["umount", ws.mountpoint().to_str().expect("ASCII")])
        .ok();
    let said = hear();
    assert!(said.lines().any(|line| line == "STOPPING=1"), "{said}");
    assert!(daemon.wait().expect("wait").success());
}

#[test]
fn from_the_background_the_log_goes_to_the_system() {
    requirements::root();
    let ws = Workspace::build().unmounted();
    let script = r#"
import os, socket, subprocess, sys
branchfs, base, path, verbose = sys.argv[1:]
os.makedirs(os.path.dirname(path), exist_ok=True)
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind(path)
log.settimeout(60)
subprocess.run([branchfs, "mount", base, *verbose.split()], check=True, stdin=subprocess.DEVNULL)
said = log.recv(65536).decode()
subprocess.run([branchfs, "umount", base], check=True)
print(said)
"#;
    let base = ws.base().to_str().expect("ASCII");
    let log = |over: &str, socket: &str, verbose: &str| {
        let mut command = limited("unshare");
        let mount = "mount -t tmpfs none \"$1\" && shift && exec python3 -c \"$@\"";
        command.args(["--mount", "--propagation", "private", "bash", "-euc"]);
        command.args([mount, "bash", over, script]);
        command.arg(run_dir::binary()).args([base, socket, verbose]);
        finish(command).ok().out
    };
    let said = log("/run", "/run/systemd/journal/socket", "-v");
    assert!(said.contains("SYSLOG_IDENTIFIER=branchfs\n"), "{said}");
    assert!(
        said.contains(&format!("MESSAGE={base} is mounted on {base}\n")),
        "{said}"
    );
}

#[test]
fn in_the_foreground_the_log_goes_to_standard_error_as_rust_log_says() {
    let ws = Workspace::build().unmounted();
    for (variable, expect) in [("off", false), ("branchfs=info", true)] {
        let mut args = ws.mount_args();
        args.extend(["-f", "-v"].map(str::to_owned));
        let log = ws.scratch().path("log");
        let mut daemon = Command::new(run_dir::binary())
            .args(args)
            .env("RUST_LOG", variable)
            .stderr(fs::File::create(&log).expect("a file"))
            .spawn()
            .expect("start branchfs");
        while !ws.main().exists(".ctl") && daemon.try_wait().expect("wait").is_none() {
            std::thread::yield_now();
        }
        let mountpoint = ws.mountpoint().to_str().expect("ASCII");
        run(Path::new("/"), run_dir::binary(), &["umount", mountpoint]).ok();
        assert!(daemon.wait().expect("wait").success());
        let said = fs::read_to_string(&log).expect("the log");
        assert_eq!(said.contains("is mounted on"), expect, "{variable}: {said}");
    }
}
