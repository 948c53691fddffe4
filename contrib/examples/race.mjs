#!/usr/bin/env node
// Several fixes race; the first whose tests pass lands. Nothing but file operations.
//
//     race.mjs WORKSPACE TEST FIX FIX ...      TEST and FIX are shell commands
//
// Prints the winner's number, from 1; exits with 1 if no fix passes the test.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, rmdirSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

function passes(command, cwd) {
    return new Promise((resolve) => {
        const child = spawn("sh", ["-c", command], { cwd, stdio: "ignore" });
        child.on("error", () => resolve(false)); // its directory is gone: another was first
        child.on("exit", (code) => resolve(code === 0));
    });
}

async function attempt(branch, fix, test) {
    if (!(await passes(fix, branch)) || !(await passes(test, branch))) return false;
    try {
        // "r+": a control file is written as it is, never created.
        const ctl = await open(join(branch, ".ctl"), "r+");
        try {
            await ctl.write("commit\n");
        } finally {
            await ctl.close();
        }
        return true;
    } catch (error) {
        if (["ESTALE", "ENOENT"].includes(error.code) || error.errno === -116) return false;
        throw error;
    }
}

const [workspace, test, ...fixes] = process.argv.slice(2);
const branches = fixes.map((_, i) => join(workspace, "@branches", `race-${i + 1}`));
branches.forEach((branch) => mkdirSync(branch)); // fork
const won = await Promise.all(branches.map((branch, i) => attempt(branch, fixes[i], test)));
// One that has failed is still there; one that has lost is not.
branches.filter(existsSync).forEach((branch) => rmdirSync(branch));
if (won.includes(true)) console.log(won.indexOf(true) + 1);
else process.exitCode = 1;
