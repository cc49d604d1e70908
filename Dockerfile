# The tool in a container, with nothing else installed:
#
#   docker build -t l4f-datagen .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" l4f-datagen
#
# makes the demo, 200 labelled toy cars, in ./toy. Any other command goes behind the image's name.
# PyPI's torch for Linux computes on CPUs and, with CUDA, on NVIDIA's GPUs:
#
#   docker run --rm --gpus all -v "$PWD:/data" l4f-datagen doctor
#
# For a CPU alone an index that has CPU builds of torch makes the image smaller:
#
#   docker build --build-arg PIP_EXTRA_INDEX_URL=ADDRESS -t l4f-datagen .

FROM python:3.11-slim

# pip reads it from the environment; a CPU build of the same version goes before PyPI's.
ARG PIP_EXTRA_INDEX_URL

WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt torch
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY recipes recipes
COPY l4f_datagen l4f_datagen
RUN pip install --no-cache-dir -c constraints.txt .

# Any user may run it: the cache is the only place it writes to beside /data.
ENV XDG_CACHE_HOME=/tmp/cache HOME=/tmp
WORKDIR /data
ENTRYPOINT ["l4f-datagen"]
CMD ["make", "--domain", "toy-cars", "--n", "200", "--out", "toy"]
