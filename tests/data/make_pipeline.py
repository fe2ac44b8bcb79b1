"""Make pipeline.safetensors and pipeline.json anew, after the layout of files has changed."""

import json
from pathlib import Path

from skgrav import LatentInverter, Mesh, Refiner, VAEGenerator
from skgrav.datasets import make_gravity_dataset
from skgrav.pipeline import Pipeline

FOLDER = Path(__file__).parent


def main():
    data = make_gravity_dataset(60, mesh=Mesh.square(6), random_state=0)
    noise = {"operator": data.operator, "noise_level": 0.01}
    generator = VAEGenerator(5, max_epochs=3, random_state=0)
    pipeline = Pipeline([LatentInverter(generator, **noise), Refiner("cgls", **noise)])
    pipeline.fit(data.data, data.target).save(FOLDER / "pipeline.safetensors", dtype="float16")
    X = data.data[:3].round(4)
    rho = Pipeline.load(FOLDER / "pipeline.safetensors").predict(X).round(6)
    text = json.dumps({"X": X.tolist(), "rho": rho.tolist()})
    (FOLDER / "pipeline.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
