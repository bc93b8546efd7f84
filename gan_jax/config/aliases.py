"""What other programs call the fields of a config, so that a message can name the field here."""

import re

_RATE_OF_G, _RATE_OF_D = "generator_optimizer.learning_rate=VALUE", "discriminator_optimizer.learning_rate=VALUE"
_PATH = "set data.source=folder data.source.path=PATH (or data.source=npz for a file of arrays)"
_SIZE = "set data.source.size=VALUE"
_STEPS = "set steps=VALUE"
_DEVICES = "set parallel.devices=VALUE, which counts them; 0 takes all"
_WORKDIR = "give --workdir VALUE"

ALIASES = {
    **dict.fromkeys(("lr", "learning_rate"), f"set {_RATE_OF_G} and {_RATE_OF_D}"),
    **dict.fromkeys(("g_lr", "lr_g", "glr", "lr_gen", "gen_lr", "g_learning_rate"), f"set {_RATE_OF_G}"),
    **dict.fromkeys(("d_lr", "lr_d", "dlr", "lr_disc", "disc_lr", "d_learning_rate"), f"set {_RATE_OF_D}"),
    **dict.fromkeys(("beta1", "b1"), "set generator_optimizer.b1=VALUE and discriminator_optimizer.b1=VALUE"),
    **dict.fromkeys(("beta2", "b2"), "set generator_optimizer.b2=VALUE and discriminator_optimizer.b2=VALUE"),
    **dict.fromkeys(("optimizer", "optim"), "set generator_optimizer=VALUE and discriminator_optimizer=VALUE"),
    **dict.fromkeys(("batch_size", "batchsize", "bs", "batch_gpu"), "set batch=VALUE"),
    **dict.fromkeys(
        ("epochs", "epoch", "num_epochs", "n_epochs", "niter"),
        "set steps=N, where N is epochs * images / batch",
    ),
    **dict.fromkeys(("iterations", "iters", "num_steps", "max_steps", "n_steps", "total_steps"), _STEPS),
    "kimg": "set steps=N, where N is 1000 * kimg / batch",
    **dict.fromkeys(("size", "resolution", "res", "image_size", "img_size", "imsize"), _SIZE),
    **dict.fromkeys(("data", "dataset", "dataroot", "data_path", "data_dir", "dataset_path", "path"), _PATH),
    **dict.fromkeys(("gpus", "gpu", "num_gpus", "ngpu", "devices", "num_devices"), _DEVICES),
    **dict.fromkeys(("workers", "num_workers"), "set data.workers=VALUE"),
    **dict.fromkeys(("z_dim", "latent_dim", "nz", "noise_dim", "latent_size"), "set latent.size=VALUE"),
    **dict.fromkeys(("ngf", "ndf"), "set generator.width=VALUE and discriminator.width=VALUE"),
    **dict.fromkeys(("model", "arch", "network", "architecture"), "set generator=VALUE and discriminator=VALUE"),
    **dict.fromkeys(
        ("gamma", "r1_gamma", "r1"), "set discriminator_terms.0.weight=VALUE, where the config has r1"
    ),
    **dict.fromkeys(("cond", "conditional_gan", "class_conditional"), "set conditional=true"),
    **dict.fromkeys(("mirror", "flip", "hflip"), "set data.source.mirror=true"),
    **dict.fromkeys(("aug", "augmentation"), "set augment=VALUE, such as ada"),
    **dict.fromkeys(("n_critic", "ncritic", "d_steps", "critic_iters"), "set disc_steps=VALUE"),
    **dict.fromkeys(("fp16", "bf16", "amp", "mixed_precision"), "set precision=bfloat16"),
    **dict.fromkeys(("accumulate", "grad_accum", "gradient_accumulation"), "set microbatches=VALUE"),
    **dict.fromkeys(("snap", "save_every", "save_interval", "checkpoint_every"), "set checkpoint.every=VALUE"),
    **dict.fromkeys(("out", "outdir", "output", "output_dir", "logdir", "results_dir"), _WORKDIR),
    "resume": "start the same command again, with the same --workdir: it resumes the run",
}
"""What to do instead, by the name that people use; VALUE and PATH stand for what they gave."""


def advice(name: str, value: str = "") -> str | None:
    """Returns what to do in the place of setting `name`; None if the name is not known from elsewhere."""
    found = ALIASES.get(name.lower().replace("-", "_"))
    if found is None or not 0 < len(value) <= 200:
        return found
    return re.sub("VALUE|PATH", lambda _: value, found)
