#!/usr/bin/env node
/** The bin `rsds-scheduler`: `rsds scheduler` under one name, for tools that take a command without arguments. */
import { runScheduler } from "./scheduler-process.ts";

process.exitCode = await runScheduler(process.argv.slice(2));
