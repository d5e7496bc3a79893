#!/usr/bin/env bash
# Captioned photographs, a tiny Stable Diffusion and a LoRA of it: fine-tuning in reading order, on two CPU cores.
#
#   darkroom storage serve --data .darkroom/s3 -- darkroom ray -- examples/finetune.sh     with an S3 server of its own
#   DARKROOM_ROOT=/tmp/finetune darkroom ray -- examples/finetune.sh                       on plain files
#
# Every step says --resume: a rerun finishes what was interrupted and shows what is done at once.
set -euo pipefail

root=${DARKROOM_ROOT:-s3://darkroom/finetune}
work=${DARKROOM_WORK:-.darkroom}
here=$(dirname "$0")/finetune

step() {
  printf '\n== %s\n' "$1 $2"
  darkroom "${@:2}" --resume
}

# Made once, and whole: a rerun must find the same files, or it would be of other pictures.
pictures() {
  [[ -e $work/$1 ]] && return
  rm -rf "$work/$1.part"
  python "$here/captioned_pictures.py" "$work/$1.part" "${@:2}"
  mv "$work/$1.part" "$work/$1"
}

printf '== photographs that packages ship, in crops, with captions\n'
pictures photographs
pictures concept --concept
if [[ ! -e $work/tiny_sd/model_index.json ]]; then
  printf '\n== a base: tokenizer and VAE of these pictures, U-Net and text encoder random\n'
  python "$here/tiny_base.py" "$work/photographs" "$work/tiny_sd"
fi

prepared=(--set source.kind=captions --set 'image_size=[32, 32]' --set channels=3)
step photographs: prepare --input "$work/photographs" --output "$root/data" "${prepared[@]}"
step concept: prepare --input "$work/concept" --output "$root/concept" "${prepared[@]}"
step full: finetune --recipe tiny_sd --base "$work/tiny_sd" --input "$root/data" --output "$root/model" \
  --num-workers 2
step LoRA: finetune --recipe tiny_sd --base "$root/model" --input "$root/concept" --output "$root/lora" \
  --num-workers 2 --set method=lora --set lora.rank=8 --set lora.targets=all --set max_steps=120 \
  --set optimizer.learning_rate=5e-3 --set 'trigger_words=[zwk]'

printf '%s\n' id,prompt '1,a photo of a cat' '2,a photo of a cup of coffee' '3,a photo of a zwk flower' >"$work/prompts.csv"
drawn=(--input "$work/prompts.csv" --model "$root/model" --steps 50 --set draw.guidance_scale=3)
step before: generate "${drawn[@]}" --output "$root/before"
step after: generate "${drawn[@]}" --set "draw.lora.model=$root/lora" --output "$root/after"

printf '\n== done\n'
for pictures in before after; do
  darkroom storage get "$root/$pictures" "$work/$pictures" --overwrite
done
echo "Look at $work/before/images and $work/after/images."
