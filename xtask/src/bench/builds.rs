//! Builds, by wall time: a C program with make, and a Rust crate with cargo.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::trees::timed;
use super::{Context, Res, Round};

/// C files of the program; each includes all headers of its group.
const SOURCES: usize = 120;
const HEADERS: usize = 60;

/// Writes a C program of 120 files, a Makefile, and a Rust crate of 12 modules.
pub fn make_tree(context: &Context, at: &Path) -> Res<()> {
    make_program(&at.join("c"), context.pick(SOURCES, 12))?;
    make_crate(&at.join("rust"))
}

/// Writes a C program and its Makefile.
pub fn make_program(c: &Path, sources: usize) -> Res<()> {
    fs::create_dir_all(c)?;
    for number in 0..HEADERS {
        let mut text = format!("#ifndef H{number}\n#define H{number}\n");
        for item in 0..40 {
            writeln!(text, "struct s{number}_{item} {{ int a[{}]; }};", item + 1)?;
            writeln!(
                text,
                "static inline int f{number}_{item}(int x) {{ return x * {item} + 1; }}"
            )?;
        }
        text.push_str("#endif\n");
        fs::write(c.join(format!("h{number}.h")), text)?;
    }
    for number in 0..sources {
        let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n");
        for header in 0..HEADERS {
            writeln!(text, "#include \"h{header}.h\"")?;
        }
        writeln!(text, "int part{number}(int x) {{")?;
        for item in 0..40 {
            writeln!(text, "  x += f{}_{item}(x);", (number + item) % HEADERS)?;
        }
        writeln!(text, "  return x;\n}}")?;
        fs::write(c.join(format!("part{number}.c")), text)?;
    }
    let calls: String = (0..sources)
        .map(|n| format!("int part{n}(int); "))
        .collect();
    let sum: String = (0..sources).map(|n| format!(" + part{n}(1)")).collect();
    let main = format!("{calls}\nint main(void) {{ return (0{sum}) & 1; }}\n");
    fs::write(c.join("main.c"), main)?;
    fs::write(
        c.join("Makefile"),
        "OBJS := $(patsubst %.c,%.o,$(wildcard *.c))\nprogram: $(OBJS)\n\t$(CC) -o $@ $(OBJS)\n\
         %.o: %.c $(wildcard *.h)\n\t$(CC) -O1 -c -o $@ $<\n",
    )?;
    Ok(())
}

fn make_crate(at: &Path) -> Res<()> {
    fs::create_dir_all(at.join("src"))?;
    fs::write(
        at.join("Cargo.toml"),
        "[package]\nname = \"built\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n",
    )?;
    let mut main = String::new();
    for module in 0..12 {
        writeln!(main, "mod m{module};")?;
        let mut text = String::from("use std::collections::BTreeMap;\n");
        for item in 0..30 {
            writeln!(
                text,
                "pub fn f{item}(n: u32) -> BTreeMap<u32, String> {{ (0..n).map(|i| (i ^ {item}, \
                 format!(\"{{i}}-{item}\"))).collect() }}"
            )?;
        }
        fs::write(at.join(format!("src/m{module}.rs")), text)?;
    }
    main.push_str("fn main() { println!(\"{}\", 0");
    for module in 0..12 {
        write!(main, " + m{module}::f1(3).len()")?;
    }
    main.push_str("); }\n");
    Ok(fs::write(at.join("src/main.rs"), main)?)
}

/// `make -j2`, then `cargo build`, both from nothing.
pub fn run(_: &Context, workspace: &Path, round: &mut Round) -> Res<()> {
    let mut make = Command::new("make");
    make.args(["--silent", "-j2", "-C"])
        .arg(workspace.join("c"));
    round.add("build of 120 C files, make -j2", "ms", timed(&mut make)?);
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo
        .args(["build", "--quiet", "--offline"])
        .current_dir(workspace.join("rust"))
        .env_remove("CARGO_TARGET_DIR");
    round.add("build of a Rust crate, cargo", "ms", timed(&mut cargo)?);
    Ok(())
}
