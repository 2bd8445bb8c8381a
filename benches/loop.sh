#!/usr/bin/env bash
# The whole loop on a CPU, with the demo data and a tiny model: prepare, train, generate, eval, report, card. Takes about two minutes.
#
#     benches/loop.sh [FOLDER]        # FOLDER is made anew; qsql-loop by default
#
# PYTHON has qsql and its extras `data` and `report`, ML_PYTHON what tests/ml/requirements.txt names besides. It ends with status 1 as
# soon as a step fails, or if the golds do not score 100%.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-qsql-loop}
PYTHON=${PYTHON:-.venv/bin/python}
ML_PYTHON=${ML_PYTHON:-.venv-ml/bin/python}
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
demo=python/qsql/demo
questions=(--data "$demo/examples.json" --tables "$demo/tables.json")

step() { printf '\n== %s\n' "$*"; }

score() {
  "$PYTHON" -m qsql eval "$1" --gold "$demo/examples.json" --db "$folder/tiny/databases" --table "$demo/tables.json"
}

rm -rf "$folder"
step "a tiny model with random weights, and the demo databases"
"$ML_PYTHON" benches/tiny_training.py "$folder/tiny"

step "prepare"
"$PYTHON" -m qsql data prepare "$demo/examples.json" --db "$folder/tiny/databases" --validation 0.25 \
  --out "$folder/data"

step "train"
"$ML_PYTHON" -m qsql train configs/train/tiny_cpu.yaml model_name_or_path="$folder/tiny/model" \
  dataset_dir="$folder/data" output_dir="$folder/model"

step "generate with the gold engine, and eval"
"$PYTHON" -m qsql generate "${questions[@]}" --engine gold --out "$folder/gold"
score "$folder/gold"

step "generate with the trained model, and eval"
"$ML_PYTHON" -m qsql generate "${questions[@]}" --model "$folder/model" --repair --db "$folder/tiny/databases" \
  --max-new-tokens 32 --out "$folder/predictions"
score "$folder/predictions"

step "report and card"
"$PYTHON" -m qsql report "$folder/predictions" --html "$folder/report.html" --train-run "$folder/model"
"$PYTHON" -m qsql card "$folder/predictions" --train-run "$folder/model" --out "$folder/model/README.md" --overwrite

"$PYTHON" - "$folder" <<'CHECK'
import json, pathlib, sys

gold, predictions = (pathlib.Path(sys.argv[1], name) for name in ("gold", "predictions"))
assert json.loads((gold / "summary.json").read_text())["all"]["execution"] == 1.0
assert (predictions.parent / "report.html").stat().st_size > 10_000
assert (predictions.parent / "model" / "README.md").read_text().startswith("---")
assert len((predictions / "predictions.jsonl").read_text().splitlines()) == 48
print("\nthe loop is closed")
CHECK
