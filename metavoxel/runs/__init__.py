"""Run folders: what training writes, and what everything after it reads."""
