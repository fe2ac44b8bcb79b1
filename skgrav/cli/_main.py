"""Commands: what is installed or in a file, gravity of a section, training, inversion."""

from __future__ import annotations

import sys
import warnings
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import skgrav
from skgrav.cli._profile import (
    GRAVITIES,
    LENGTHS,
    Profile,
    add_options,
    add_station_options,
    read_profile,
    read_stations,
    write_profile,
)
from skgrav.geometry import Mesh, Survey
from skgrav.io import checked_path
from skgrav.operators import ForwardOperator

#: What a wrong input or a missing package raises; anything else is a defect and shows itself.
_EXPECTED = (ValueError, OSError, ImportError, MemoryError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, default=None
        Arguments after the name of the program; None takes those it was started with.

    Returns
    -------
    code : int
        0, or 1 after an error that is told on stderr. Wrong usage ends with 2, as by argparse.

    See Also
    --------
    skgrav.TikhonovInverter : What inverts without a trained model.
    skgrav.CNNInverter : What `train` trains.

    Examples
    --------
    >>> from skgrav.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    skgrav 0...
    0
    """
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            options.run(options)
        except _EXPECTED as error:
            print(f"skgrav: error: {error}", file=sys.stderr)
            return 1
    return 0


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"skgrav: warning: {message}", file=sys.stderr)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m skgrav",
        description="Gravity profiles to density sections, and back. Lengths are metres, z is "
        "positive down, densities are contrasts in kg/m3, gz is positive toward a mass below.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="versions, or what a model or a section holds")
    info.add_argument("file", nargs="?", type=Path, help="model (.safetensors) or section (.nc)")
    info.set_defaults(run=_info)

    forward = commands.add_parser("forward", help="gravity of a density section")
    forward.add_argument("section", type=Path, help="netCDF file, as `invert` writes it")
    forward.add_argument("--out", type=Path, required=True, help="table of gravity to write")
    forward.add_argument("--stations", type=Path, help="table (default: above each column)")
    forward.add_argument("--components", nargs="+", choices=["x", "z"], default=["z"])
    add_station_options(forward)
    forward.set_defaults(run=_forward)

    train = commands.add_parser("train", help="train a network for the stations of a profile")
    add_options(train)
    _add_mesh(train)
    train.add_argument("--out", type=Path, required=True, help="model to write (.safetensors)")
    train.add_argument("--sections", type=int, default=5000, help="to draw (default: 5000)")
    train.add_argument("--epochs", type=int, default=30, help="(default: 30)")
    train.add_argument(
        "--densities", nargs=2, type=float, default=[-500, 500], help="contrasts (default: +-500)"
    )
    train.add_argument(
        "--training-noise",
        nargs=2,
        type=float,
        default=[0.0, 0.1],
        help="least and most noise, relative to the rms of data (default: 0 0.1)",
    )
    train.add_argument("--seed", type=int, default=0, help="(default: 0)")
    train.set_defaults(run=_train)

    invert = commands.add_parser("invert", help="density section of a profile")
    add_options(invert)
    _add_mesh(invert)
    invert.add_argument(
        "--model",
        default="tikhonov",
        help="'tikhonov', which needs no training, or a file of `train` (default: tikhonov)",
    )
    invert.add_argument("--noise", type=_positive, help="standard deviation, in --gravity-unit")
    invert.add_argument("--bounds", nargs=2, type=float, help="least and most density (tikhonov)")
    invert.add_argument("--refine", metavar="SOLVER", help="fit the network's estimate to the data")
    invert.add_argument("--out", type=Path, required=True, help="section to write (.nc)")
    invert.add_argument("--plot", type=Path, help="picture to draw")
    invert.set_defaults(run=_invert)
    return parser


def _add_mesh(parser: ArgumentParser) -> None:
    mesh = parser.add_argument_group("mesh, unless the model has one")
    mesh.add_argument("--cells", nargs=2, type=int, default=[30, 60], metavar=("NZ", "NX"))
    mesh.add_argument("--depth", type=_positive, help="in --length-unit (default: half the length)")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text} is not a positive number")
    return value


def _info(options: Namespace) -> None:
    if options.file is None:
        print(f"skgrav {skgrav.__version__}")
        for package in ("numpy", "scipy", "scikit-learn", "skorch", "torch"):
            print(f"{package} {version(package)}")
        for package in ("matplotlib", "safetensors", "xarray"):
            try:
                print(f"{package} {version(package)}")
            except PackageNotFoundError:
                print(f"{package} is not installed")
    elif options.file.suffix == ".nc":
        rho = _read_section(options.file)
        print(Mesh.from_xarray(rho))
        print(f"density {float(rho.min()):g} to {float(rho.max()):g} {rho.attrs.get('units', '')}")
    else:
        model = skgrav.CNNInverter.load(options.file)
        operator = model.operator_
        print(f"{type(model).__name__}: {model.n_features_in_} data to {model.n_outputs_} cells")
        for name in ("mesh_", "survey_", "units"):
            print(f"{name.rstrip('_')}: {getattr(operator, name, 'unknown')}")
        low, high = model.density_range_
        print(f"trained on densities {low:g} to {high:g}, relative noise {model.training_noise}")


def _forward(options: Namespace) -> None:
    rho = _read_section(options.section)
    mesh = Mesh.from_xarray(rho)
    if mesh.ndim != 2:
        raise ValueError(f"{options.section} has {mesh.ndim} axes; a section has 2, z and x.")
    if options.stations is None:
        up = LENGTHS[options.length_unit] * options.height
        stations = np.column_stack([np.full(mesh.shape[1], -up), mesh.centers[1]])
    else:
        stations = read_stations(options.stations, options)
    survey = Survey(stations, options.components)
    g = ForwardOperator(mesh, survey).fit().transform(mesh.flatten(rho)[None])[0]
    write_profile(options.out, survey, g, options.length_unit, options.gravity_unit)
    print(f"{options.out}: {survey}, {g.min():.4g} to {g.max():.4g} mGal")


def _train(options: Namespace) -> None:
    from skgrav.datasets import make_density_models

    profile = read_profile(options, None)
    operator = ForwardOperator(_mesh(options, profile), profile.survey).fit()
    rho = make_density_models(
        options.sections,
        mesh=operator.mesh_,
        density_range=tuple(options.densities),
        random_state=options.seed,
    )
    model = skgrav.CNNInverter(
        operator=operator,
        max_epochs=options.epochs,
        training_noise=tuple(options.training_noise),
        random_state=options.seed,
        verbose=1,
    )
    model.fit(operator.transform(rho), rho).save(options.out)
    print(f"{options.out}: {operator.mesh_}, {operator.survey_}")


def _invert(options: Namespace) -> None:
    unit = GRAVITIES[options.gravity_unit]
    profile = read_profile(options, None if options.noise is None else unit * options.noise)
    g = profile.data[None]
    if options.model == "tikhonov":
        model = _tikhonov(options, profile).fit(g)
        rho = model.predict(g)
    else:
        model = _trained(options, profile)
        rho = model.predict(g, noise_level=_level(profile))
    operator = model.operator_
    if options.refine is not None:
        rho = _refined(options.refine, operator, profile, rho)
    predicted = operator.transform(rho)[0]
    residual = profile.data - predicted
    _write_section(options.out, operator.mesh_, rho[0], profile, predicted)
    told = f"density {rho.min():.4g} to {rho.max():.4g} kg/m3, residual {residual.std():.3g} mGal"
    if profile.survey.uncertainty is not None:
        chi = np.mean((residual / profile.survey.uncertainty) ** 2)
        told += f", chi factor {chi:.2f}"
    print(f"{options.out}: {told}")
    if options.plot is not None:
        _plot(options.plot, operator.mesh_, rho[0], profile, predicted)


def _mesh(options: Namespace, profile: Profile) -> Mesh:
    """Build layers that thicken with depth below the length of a profile."""
    nz, nx = options.cells
    z, x = profile.survey.stations.T
    if nz < 1 or nx < 1 or np.ptp(x) == 0:
        raise ValueError(
            f"--cells is {nz} {nx} for a profile of {np.ptp(x):g} m; it must be two positive "
            "numbers, and the profile have a length."
        )
    half = np.ptp(x) / max(1, len(x) - 1) / 2
    edges = np.linspace(x[0] - half, x[-1] + half, nx + 1)
    unit = LENGTHS[options.length_unit]
    depth = np.ptp(x) / 2 if options.depth is None else unit * options.depth
    top = z.max()
    share = np.linspace(0, 1, nz + 1)
    return Mesh([top + depth * (share + share**2) / 2, edges])


def _tikhonov(options: Namespace, profile: Profile) -> Any:
    if profile.survey.uncertainty is None:
        raise ValueError(
            "the noise of the data is unknown. Give it as --noise, or name its column as --sigma: "
            "it decides how much detail is believed."
        )
    if options.refine is not None:
        raise ValueError(f"--refine is {options.refine}, but 'tikhonov' fits the data by itself.")
    return skgrav.TikhonovInverter(
        order=1,
        depth_weighting="sensitivity",
        bounds=None if options.bounds is None else tuple(options.bounds),
        operator=ForwardOperator(_mesh(options, profile), profile.survey),
    )


def _trained(options: Namespace, profile: Profile) -> Any:
    if options.bounds is not None:
        raise ValueError("--bounds is for --model tikhonov; a network has learned its own.")
    model = skgrav.CNNInverter.load(options.model)
    survey = getattr(model.operator_, "survey_", None)
    if survey is None or model.operator_.units != "mGal":
        raise ValueError(f"{options.model} was not trained in metres and mGal. Train it anew.")
    stations = profile.survey.stations
    same = (
        survey.stations.shape == stations.shape and survey.components == profile.survey.components
    )
    if not same or not np.allclose(survey.stations, stations, rtol=0, atol=1e-3):
        raise ValueError(
            f"{options.model} was trained for {survey}, not for the {profile.survey} of "
            f"{options.profile} or at other places. Train a model for this profile."
        )
    return model


def _level(profile: Profile) -> float | None:
    """Return the noise relative to the rms of the data, if it is known."""
    sigma, rms = profile.survey.uncertainty, np.sqrt(np.mean(profile.data**2))
    return None if sigma is None or rms == 0 else float(np.sqrt(np.mean(sigma**2)) / rms)


def _refined(solver: str, operator: ForwardOperator, profile: Profile, rho: Any) -> Any:
    from skgrav.solvers import SOLVERS

    if solver not in SOLVERS:
        raise ValueError(f"--refine is '{solver}'; allowed are {', '.join(SOLVERS)}.")
    sigma = profile.survey.uncertainty
    if sigma is None:
        raise ValueError("--refine fits the data to their noise: give --noise or --sigma.")
    return SOLVERS[solver]().solve(operator, profile.data[None], rho, sigma=sigma[None]).rho


def _read_section(path: Path) -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError(f"{path} needs xarray: pip install 'skgrav[io]'.") from error

    dataset = xarray.load_dataset(path)
    if "density" not in dataset:
        raise ValueError(f"{path} has the variables {list(dataset)}; 'density' must be among them.")
    return dataset["density"]


def _write_section(path: Path, mesh: Mesh, rho: Any, profile: Profile, predicted: Any) -> None:
    observed = profile.survey.to_xarray(profile.data)
    modelled = Survey(profile.survey.stations, profile.survey.components).to_xarray(predicted)
    names = {"x": "station_x", "z": "station_z"}
    dataset = mesh.to_xarray(rho).to_dataset()
    dataset.update(observed.rename(names))
    dataset.update(modelled.rename(names | {name: f"{name}_predicted" for name in modelled}))
    dataset.attrs["source"] = f"skgrav {skgrav.__version__}"
    dataset.to_netcdf(checked_path(path))


def _plot(path: Path, mesh: Mesh, rho: Any, profile: Profile, predicted: Any) -> None:
    from matplotlib.figure import Figure

    from skgrav.plotting import DensityDisplay, GravityDisplay

    figure = Figure(figsize=(9, 9), layout="constrained")
    n = len(profile.survey.components)
    axes = figure.subplots(3, n, squeeze=False, height_ratios=[2, 1, 3])
    GravityDisplay(profile.data, {"predicted": predicted}, survey=profile.survey).plot(axes[:2])
    for unused in axes[2, 1:]:
        unused.remove()
    DensityDisplay.from_predictions(None, rho, mesh=mesh, ax=axes[2, 0])
    for axis in axes[:2].flat:
        axis.set_xlim(axes[2, 0].get_xlim())
    figure.savefig(path, dpi=150)
