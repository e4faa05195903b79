/* picture.c - scales, axes, lines and a legend, written as SVG. */
#include "samples/eval/picture.h"

#include "samples/common/args.h"

#include <math.h>
#include <string.h>

#define PLOT_WIDTH  300.0
#define PLOT_HEIGHT 200.0
#define LEFT        56.0 /* of the first plot, for the numbers on its axis */
#define GAP         64.0
#define TOP         56.0
#define ROW_HEIGHT  (PLOT_HEIGHT + 104.0)
#define LEGEND      300.0
#define LINE_HEIGHT 18.0

#define INK  "#222222"
#define PALE "#dddddd"

/* Told apart by eye and by most kinds of colour blindness; a second round is dashed. */
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#8a6d00", "#56b4e9", "#7a3db8", "#999999"};

/* The last one is left out where no recipe was timed. */
static const char *const titles[] = {"right answers, %", "tokens as under none, %", "ms per token"};

/* One plot: where it lies and what its axes span. */
typedef struct plot {
    const eval_part *part;
    uint32_t what;        /* index in titles */
    double x, y;          /* top left corner */
    double low_x, high_x; /* log10 of percent of the full cache */
    double low_y, high_y, step_y;
} plot;

typedef struct point {
    double x, y; /* log10 of percent, value */
} point;

static void print_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        default: fputc(*text, out);
        }
    }
}

static void print_text(FILE *out, double x, double y, const char *style, const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style);
    print_escaped(out, text);
    fputs("</text>\n", out);
}

static void print_line(FILE *out, double x1, double y1, double x2, double y2, const char *style)
{
    fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2,
            style);
}

/* False when every question was refused, or nothing is to be seen here. */
static bool point_of(const plot *self, uint32_t recipe, point *out)
{
    eval_totals sum = eval_total_of(self->part, recipe, EVAL_ALL_KINDS);
    double share = eval_ratio((double)sum.realised_bytes, (double)sum.full_bytes);
    const double values[] = {100 * eval_ratio((double)sum.n_right, (double)sum.n),
                             100 * eval_ratio((double)sum.n_agree, (double)sum.n_token),
                             eval_ratio(sum.decode_ms, (double)sum.n_decode)};

    if (share <= 0) {
        return false;
    }
    *out = (point){log10(100 * share), values[self->what]};
    return true;
}

static double map_x(const plot *self, double x)
{
    return self->x + PLOT_WIDTH * (x - self->low_x) / (self->high_x - self->low_x);
}

static double map_y(const plot *self, double y)
{
    return self->y + PLOT_HEIGHT * (self->high_y - y) / (self->high_y - self->low_y);
}

/* 1, 2 or 5 times a power of ten, so that about five steps make the span. */
static double step_for(double span)
{
    double unit = pow(10, floor(log10(span / 5)));
    double times = span / 5 / unit;

    return unit * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

static void set_scales(plot *self)
{
    uint32_t n_recipe = self->part->job.recipes->n;
    double low_x = INFINITY, high_x = -INFINITY, low_y = INFINITY, high_y = -INFINITY;
    point at;

    for (uint32_t r = 0; r < n_recipe; r++) {
        if (point_of(self, r, &at)) {
            low_y = fmin(low_y, at.y);
            high_y = fmax(high_y, at.y);
            if (r > 0 || n_recipe == 1) { /* "none" is a level, not a point */
                low_x = fmin(low_x, at.x);
                high_x = fmax(high_x, at.x);
            }
        }
    }
    if (low_x > high_x) {
        low_x = high_x = 2;
        low_y = high_y = 0;
    }
    self->low_x = low_x - 0.1;
    self->high_x = high_x + 0.1;
    self->step_y = step_for(fmax(high_y - low_y, 0.01 * fmax(fabs(high_y), 1)));
    self->low_y = floor(low_y / self->step_y) * self->step_y;
    self->high_y = fmax(ceil(high_y / self->step_y) * self->step_y, self->low_y + self->step_y);
}

static void print_axes(FILE *out, const plot *self)
{
    static const double ticks[] = {0.5, 1, 2, 2.5, 5, 10, 20, 50, 100};
    double bottom = self->y + PLOT_HEIGHT, right = self->x + PLOT_WIDTH;
    long n_step = lround((self->high_y - self->low_y) / self->step_y);
    char number[32];

    for (long i = 0; i <= n_step; i++) {
        double y = self->low_y + (double)i * self->step_y;
        print_line(out, self->x, map_y(self, y), right, map_y(self, y), "stroke=\"" PALE "\"");
        snprintf(number, sizeof(number), "%.4g", y);
        print_text(out, self->x - 6, map_y(self, y) + 4, "text-anchor=\"end\"", number);
    }
    for (size_t i = 0; i < SAMPLE_COUNT(ticks); i++) {
        double x = log10(ticks[i]);
        if (x >= self->low_x && x <= self->high_x) {
            print_line(out, map_x(self, x), self->y, map_x(self, x), bottom, "stroke=\"" PALE "\"");
            snprintf(number, sizeof(number), "%g%%", ticks[i]);
            print_text(out, map_x(self, x), bottom + 16, "text-anchor=\"middle\"", number);
        }
    }
    print_line(out, self->x, bottom, right, bottom, "stroke=\"" INK "\"");
    print_line(out, self->x, self->y, self->x, bottom, "stroke=\"" INK "\"");
    print_text(out, self->x, self->y - 8, "font-weight=\"bold\"", titles[self->what]);
    print_text(out, self->x + PLOT_WIDTH / 2, bottom + 34, "text-anchor=\"middle\"",
               "realised bytes of the full cache");
}

/* How series `index` looks: the one the others are compared with is thick and dark. */
static void print_stroke(FILE *out, uint32_t index, bool thick)
{
    fprintf(out, "stroke=\"%s\" stroke-width=\"%s\"%s",
            thick ? INK : colours[index % SAMPLE_COUNT(colours)], thick ? "3.5" : "1.8",
            !thick && index / SAMPLE_COUNT(colours) % 2 == 1 ? " stroke-dasharray=\"6 3\"" : "");
}

static void print_mark(FILE *out, double x, double y, uint32_t index, bool thick)
{
    const char *fill = thick ? INK : colours[index % SAMPLE_COUNT(colours)];

    if (index / SAMPLE_COUNT(colours) % 2 == 1) {
        fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\" fill=\"%s\"/>\n",
                x - 3.5, y - 3.5, fill);
    } else {
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" fill=\"%s\"/>\n", x, y,
                thick ? "5" : "3.5", fill);
    }
}

static bool is_first_of_base(const eval_recipes *recipes, uint32_t index)
{
    for (uint32_t r = 0; r < index; r++) {
        if (strcmp(recipes->bases[r], recipes->bases[index]) == 0) {
            return false;
        }
    }
    return true;
}

static bool is_thick(const eval_recipes *recipes, uint32_t index, const char *against)
{
    return against != NULL && (strcmp(recipes->bases[index], against) == 0 ||
                               strcmp(recipes->items[index], against) == 0);
}

/* A line through all budgets of the recipe that `first` begins, from few bytes to many. */
static void print_series(FILE *out, const plot *self, uint32_t first, uint32_t index, bool thick)
{
    const eval_recipes *recipes = self->part->job.recipes;
    point points[EVAL_MAX_RECIPE];
    uint32_t n = 0;

    for (uint32_t r = first; r < recipes->n; r++) {
        point at;
        if (strcmp(recipes->bases[r], recipes->bases[first]) == 0 && point_of(self, r, &at)) {
            uint32_t place = n++;
            for (; place > 0 && points[place - 1].x > at.x; place--) {
                points[place] = points[place - 1];
            }
            points[place] = at;
        }
    }
    fputs("<polyline fill=\"none\" ", out);
    print_stroke(out, index, thick);
    fputs(" points=\"", out);
    for (uint32_t i = 0; i < n; i++) {
        fprintf(out, "%.1f,%.1f ", map_x(self, points[i].x), map_y(self, points[i].y));
    }
    fputs("\"/>\n", out);
    for (uint32_t i = 0; i < n; i++) {
        print_mark(out, map_x(self, points[i].x), map_y(self, points[i].y), index, thick);
    }
}

static void print_plot(FILE *out, plot *self, const char *against)
{
    const eval_recipes *recipes = self->part->job.recipes;
    point none;

    set_scales(self);
    print_axes(out, self);
    if (point_of(self, 0, &none)) {
        print_line(out, self->x, map_y(self, none.y), self->x + PLOT_WIDTH, map_y(self, none.y),
                   "stroke=\"" INK "\" stroke-dasharray=\"3 3\"");
    }
    for (int pass = 0; pass < 2; pass++) { /* the thick one over the others */
        for (uint32_t r = 1, index = 0; r < recipes->n; r++) {
            if (is_first_of_base(recipes, r)) {
                bool thick = is_thick(recipes, r, against);
                if (thick == (pass == 1)) {
                    print_series(out, self, r, index, thick);
                }
                index++;
            }
        }
    }
}

static void print_legend(FILE *out, const eval_recipes *recipes, double x, const char *against)
{
    double y = TOP;

    print_line(out, x, y, x + 28, y, "stroke=\"" INK "\" stroke-dasharray=\"3 3\"");
    print_text(out, x + 36, y + 4, "", "none: everything kept");
    for (uint32_t r = 1, index = 0; r < recipes->n; r++) {
        if (is_first_of_base(recipes, r)) {
            bool thick = is_thick(recipes, r, against);
            y += LINE_HEIGHT;
            fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" ", x, y, x + 28, y);
            print_stroke(out, index, thick);
            fputs("/>\n", out);
            print_mark(out, x + 14, y, index, thick);
            print_text(out, x + 36, y + 4, thick ? "font-weight=\"bold\"" : "", recipes->bases[r]);
            index++;
        }
    }
}

static size_t count_plots(const eval_part *parts, size_t n_part)
{
    for (size_t i = 0; i < n_part; i++) {
        for (uint32_t r = 0; r < parts[i].job.recipes->n; r++) {
            if (eval_total_of(&parts[i], r, EVAL_ALL_KINDS).n_decode > 0) {
                return SAMPLE_COUNT(titles);
            }
        }
    }
    return SAMPLE_COUNT(titles) - 1;
}

void eval_picture(FILE *out, const eval_part *parts, size_t n_part, const char *against)
{
    const eval_recipes *recipes = parts[0].job.recipes;
    size_t n_plot = count_plots(parts, n_part);
    double width = LEFT + (double)n_plot * (PLOT_WIDTH + GAP) + LEGEND;
    double height = fmax(ROW_HEIGHT * (double)n_part, TOP + LINE_HEIGHT * (recipes->n + 1)) + 8;

    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\" fill=\"" INK
            "\">\n"
            "<rect width=\"%.0f\" height=\"%.0f\" fill=\"white\"/>\n",
            width, height, width, height, width, height);
    for (size_t i = 0; i < n_part; i++) {
        double y = ROW_HEIGHT * (double)i;
        char title[256];
        snprintf(title, sizeof(title), "mode %s: %s", parts[i].job.mode->name, parts[i].name);
        print_text(out, LEFT, y + 24, "font-size=\"15\" font-weight=\"bold\"", title);
        for (uint32_t k = 0; k < n_plot; k++) {
            plot self = {
                .part = &parts[i], .what = k, .x = LEFT + k * (PLOT_WIDTH + GAP), .y = y + TOP};
            print_plot(out, &self, against);
        }
    }
    print_legend(out, recipes, LEFT + (double)n_plot * (PLOT_WIDTH + GAP), against);
    fputs("</svg>\n", out);
}
