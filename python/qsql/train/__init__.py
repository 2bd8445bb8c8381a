"""Fine-tuning with LLaMA-Factory, which runs in a child process: plan, checks, launch, progress, curves."""
