# The tool in a container, with nothing else installed:
#
#   docker build -t l4f-datagen .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" l4f-datagen
#
# makes the demo, 200 labelled toy cars, in ./toy. Any other command goes behind the image's name.
# With CUDA: an empty TORCH_INDEX takes torch from PyPI, which on Linux includes it.
#
#   docker build --build-arg TORCH_INDEX= -t l4f-datagen:cuda .
#   docker run --rm --gpus all -v "$PWD:/data" l4f-datagen:cuda doctor

FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY recipes recipes
COPY l4f_datagen l4f_datagen
RUN pip install --no-cache-dir -c constraints.txt .

# Any user may run it: the cache is the only place it writes to beside /data.
ENV XDG_CACHE_HOME=/tmp/cache HOME=/tmp
WORKDIR /data
ENTRYPOINT ["l4f-datagen"]
CMD ["make", "--domain", "toy-cars", "--n", "200", "--out", "toy"]
