//! make: a parallel build that trusts times.

use super::in_a_nested_branch;
use crate::harness::Tree;
use crate::harness::process::sh;

const SOURCES: usize = 60;

fn project(base: &Tree) {
    let mut main = String::from("#include \"common.h\"\n#include <stdio.h>\n");
    let mut sum = String::new();
    base.mkdir("src");
    for i in 0..SOURCES {
        let source = format!("#include \"common.h\"\nint f{i}(void) {{ return ONE; }}\n");
        base.write(format!("src/f{i}.c"), source);
        main += &format!("int f{i}(void);\n");
        sum += &format!(" + f{i}()");
    }
    main += &format!("int main(void) {{ printf(\"%d\\n\", 0{sum}); return 0; }}\n");
    base.write("src/main.c", main);
    base.write("src/common.h", "#define ONE 1\n");
    base.write(
        "Makefile",
        "OBJECTS := $(patsubst src/%.c,build/%.o,$(wildcard src/*.c))\n\
         build/program: $(OBJECTS)\n\tcc -o $@ $^\n\
         build/%.o: src/%.c\n\t@mkdir -p build\n\tcc -MMD -c -o $@ $<\n\
         -include $(OBJECTS:.o=.d)\n",
    );
}

#[test]
fn make_builds_in_parallel_and_again_only_what_changed() {
    in_a_nested_branch(
        project,
        |branch| {
            let build = || {
                sh(branch.root(), "make -j4 && build/program", &[""; 0])
                    .ok()
                    .out
            };
            assert_eq!(build().lines().last(), Some("60"));
            let again = sh(branch.root(), "make -j4 -q", &[""; 0]);
            assert_eq!(again.code, 0, "nothing to do: {}{}", again.out, again.err);
            branch.write("src/f7.c", "int f7(void) { return 41; }\n");
            let one = build();
            assert_eq!(one.lines().last(), Some("100"));
            assert_eq!(one.matches("cc -MMD").count(), 1, "{one}");
            branch.write("src/common.h", "#define ONE 2\n");
            assert_eq!(build().lines().last(), Some("159"));
        },
        |base| {
            let done = sh(base.root(), "make -q && build/program", &[""; 0]).ok();
            assert_eq!(done.out, "159\n");
        },
    );
}
