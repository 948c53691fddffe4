//! pip: a virtual environment, and a wheel in it.

use super::in_a_nested_branch;
use crate::harness::Tree;
use crate::harness::process::{run, sh};

/// Writes the wheel `demo-1.0-py3-none-any.whl`: a module and a program.
const WHEEL: &str = r#"
import zipfile
info = 'demo-1.0.dist-info/'
files = {
    'demo/__init__.py': 'def main(): print("the wheel says", 42)\n',
    info + 'METADATA': 'Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n',
    info + 'WHEEL': 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    info + 'entry_points.txt': '[console_scripts]\ndemo = demo:main\n',
}
files[info + 'RECORD'] = ''.join(name + ',,\n' for name in [*files, info + 'RECORD'])
with zipfile.ZipFile('demo-1.0-py3-none-any.whl', 'w') as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
"#;

fn wheel(base: &Tree) {
    run(base.root(), "python3", &["-c", WHEEL]).ok();
}

#[test]
fn pip_installs_into_a_virtual_environment_and_takes_it_out_again() {
    in_a_nested_branch(
        wheel,
        |branch| {
            let script = "python3 -m venv --without-pip venv
                pip() { pip3 --disable-pip-version-check -q --python venv/bin/python \"$@\"; }
                pip install --no-index ./demo-1.0-py3-none-any.whl
                [[ $(venv/bin/demo) == 'the wheel says 42' ]]
                pip uninstall -y demo
                [[ ! -e venv/bin/demo ]]
                pip install --no-index ./demo-1.0-py3-none-any.whl
                venv/bin/python -m compileall -q venv/lib
                venv/bin/python -c 'import demo; demo.main()'";
            let done = sh(branch.root(), script, &[""; 0]).ok();
            assert_eq!(done.out, "the wheel says 42\n", "{}", done.err);
        },
        |base| {
            let done = run(
                base.root(),
                "venv/bin/python",
                &["-m", "compileall", "-q", "venv"],
            );
            done.ok();
            assert_eq!(base.readlink("venv/lib64"), b"lib");
        },
    );
}
