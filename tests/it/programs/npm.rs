//! npm: packages under `@scope` directories, and links in `.bin`.

use std::path::Path;

use super::in_a_nested_branch;
use crate::harness::Tree;
use crate::harness::process::{Done, run, sh};

/// Two packages, and one that depends on both by their tarballs.
fn packages(base: &Tree) {
    let scoped = base.mkdir("packages/scoped");
    scoped.write(
        "package.json",
        r#"{"name": "@scope/tool", "version": "1.0.0", "bin": {"tool": "bin/tool.js"},
            "dependencies": {"plain": "1.0.0"}}"#,
    );
    scoped.mkdir("bin").write(
        "tool.js",
        "#!/usr/bin/env node\nconsole.log('the tool says', require('plain'))\n",
    );
    let plain = base.mkdir("packages/plain");
    plain.write("package.json", r#"{"name": "plain", "version": "1.0.0"}"#);
    plain.write("index.js", "module.exports = 7\n");
    base.mkdir("app").write(
        "package.json",
        r#"{"name": "app", "version": "1.0.0", "scripts": {"go": "tool"}, "dependencies": {
            "@scope/tool": "file:../packages/scoped/scope-tool-1.0.0.tgz",
            "plain": "file:../packages/plain/plain-1.0.0.tgz"}}"#,
    );
}

/// Runs npm without its registry.
fn npm(dir: &Path, args: &[&str]) -> Done {
    let quiet = ["--offline", "--no-audit", "--no-fund", "--silent"];
    run(dir, "npm", &[args, &quiet].concat()).ok()
}

#[test]
fn npm_packs_installs_and_runs_packages_with_scopes_and_links_to_programs() {
    in_a_nested_branch(
        packages,
        |branch| {
            npm(&branch.path("packages/scoped"), &["pack"]);
            npm(&branch.path("packages/plain"), &["pack"]);
            let app = branch.path("app");
            npm(&app, &["install"]);
            assert_eq!(npm(&app, &["run", "go"]).out, "the tool says 7\n");
            // From the lock file, after all of it was removed.
            npm(&app, &["ci"]);
            assert_eq!(npm(&app, &["run", "go"]).out, "the tool says 7\n");
            let installed = branch.sub("app/node_modules");
            assert_eq!(installed.names("@scope"), ["tool"]);
            assert_eq!(
                installed.readlink(".bin/tool"),
                b"../@scope/tool/bin/tool.js"
            );
        },
        |base| {
            let done = sh(&base.path("app"), "node_modules/.bin/tool", &[""; 0]).ok();
            assert_eq!(done.out, "the tool says 7\n");
        },
    );
}
